//! The servings of this process, each under a number: nginx's structures and the threads know only that, so that a request
//! that is gone leaves a number that leads nowhere.

use std::cell::RefCell;
use std::ffi::c_void;
use std::rc::Rc;

use crate::serving::Serving;

/// Which serving. A number that is used again has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    index: u32,
    generation: u32,
}

impl Id {
    /// As nginx keeps it: a number where a pointer would stand, never null.
    pub fn as_pointer(self) -> *mut c_void {
        std::ptr::without_provenance_mut(((self.generation as usize) << 32) | self.index as usize)
    }

    /// The id that [`Id::as_pointer`] wrote; `None` for null.
    pub fn of_pointer(pointer: *mut c_void) -> Option<Self> {
        let number = pointer.addr();
        let (index, generation) = (number as u32, (number >> 32) as u32);
        (generation != 0).then_some(Self { index, generation })
    }
}

#[derive(Default)]
struct Register {
    slots: Vec<(u32, Option<Rc<Serving>>)>,
    free: Vec<u32>,
    in_flight: usize,
}

thread_local! {
    static REGISTER: RefCell<Register> = RefCell::default();
}

/// The serving with this number, if it is still there (loop).
pub fn find(id: Id) -> Option<Rc<Serving>> {
    REGISTER.with_borrow(|register| {
        let (generation, serving) = register.slots.get(id.index as usize)?;
        serving.as_ref().filter(|_| *generation == id.generation).map(Rc::clone)
    })
}

/// How many requests have not ended.
pub fn in_flight() -> usize {
    REGISTER.with_borrow(|register| register.in_flight)
}

/// Everything that is being served (loop).
pub fn all() -> Vec<Rc<Serving>> {
    REGISTER
        .with_borrow(|register| register.slots.iter().filter_map(|(_, serving)| serving.clone()).collect())
}

/// Adds what `make` makes under its number, and counts it as in flight. `None` when there are no numbers left.
pub fn add(make: impl FnOnce(Id) -> Serving) -> Option<Rc<Serving>> {
    REGISTER.with_borrow_mut(|register| {
        let index = match register.free.pop() {
            Some(index) => index,
            None => {
                register.slots.push((0, None));
                u32::try_from(register.slots.len() - 1).ok()?
            }
        };
        let slot = register.slots.get_mut(index as usize)?;
        slot.0 = slot.0.wrapping_add(1).max(1);
        let serving = Rc::new(make(Id { index, generation: slot.0 }));
        slot.1 = Some(Rc::clone(&serving));
        register.in_flight += 1;
        Some(serving)
    })
}

/// Notes that one that is in flight has ended.
pub fn ended() {
    REGISTER.with_borrow_mut(|register| register.in_flight -= 1);
}

/// Gives a number back.
pub fn remove(id: Id) {
    // What is taken out is dropped when the register is free again.
    let _removed = REGISTER.with_borrow_mut(|register| {
        let removed = register.slots.get_mut(id.index as usize)?.1.take();
        register.free.push(id.index);
        removed
    });
}
