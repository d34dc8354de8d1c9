//! The requests in flight, each under a number: a server's structures and the threads know only that, so that
//! a request that is gone leaves a number that leads nowhere.

use std::rc::Rc;

/// Which request. A number that is used again has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    index: u32,
    generation: u32,
}

impl Id {
    /// As one number, which is never 0.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }

    /// The id that [`Id::to_bits`] gave; `None` for a number that it never gives.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        let (index, generation) = (bits as u32, (bits >> 32) as u32);
        if generation == 0 { None } else { Some(Self { index, generation }) }
    }
}

/// The requests of one event loop.
#[derive(Debug)]
pub struct Registry<T> {
    slots: Vec<(u32, Option<Rc<T>>)>,
    free: Vec<u32>,
    in_flight: usize,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), in_flight: 0 }
    }
}

impl<T> Registry<T> {
    /// The request with this number, if it is still there.
    #[must_use]
    pub fn find(&self, id: Id) -> Option<Rc<T>> {
        let (generation, request) = self.slots.get(id.index as usize)?;
        request.as_ref().filter(|_| *generation == id.generation).map(Rc::clone)
    }

    /// How many requests have not ended.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// All requests whose number was not given back.
    #[must_use]
    pub fn all(&self) -> Vec<Rc<T>> {
        self.slots.iter().filter_map(|(_, request)| request.clone()).collect()
    }

    /// Adds what `make` makes under its number, and counts it as in flight. `None` when there are no numbers
    /// left.
    pub fn add(&mut self, make: impl FnOnce(Id) -> T) -> Option<Rc<T>> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push((0, None));
                u32::try_from(self.slots.len() - 1).ok()?
            }
        };
        let slot = self.slots.get_mut(index as usize)?;
        slot.0 = slot.0.wrapping_add(1).max(1);
        let request = Rc::new(make(Id { index, generation: slot.0 }));
        slot.1 = Some(Rc::clone(&request));
        self.in_flight += 1;
        Some(request)
    }

    /// Notes that one that is in flight has ended. Its number stays its own until [`Registry::remove`].
    pub fn note_end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Gives a number back, and hands out what stood under it: the caller drops that when the registry is
    /// free again.
    #[must_use]
    pub fn remove(&mut self, id: Id) -> Option<Rc<T>> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.0 != id.generation {
            return None;
        }
        let removed = slot.1.take()?;
        self.free.push(id.index);
        Some(removed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_used_again_does_not_lead_to_the_new_request() {
        let mut registry = Registry::default();
        let mut ids = Vec::new();
        for name in ["first", "second", "third"] {
            if name == "third" {
                drop(registry.remove(ids[0]).unwrap());
            }
            let note = |id| {
                ids.push(id);
                name
            };
            registry.add(note).unwrap();
        }
        let [first, second, third] = ids[..] else { panic!("three were added") };
        assert_eq!(first.index, third.index);
        assert_eq!(registry.find(first), None);
        assert_eq!(registry.find(second).as_deref(), Some(&"second"));
        assert_eq!(registry.find(third).as_deref(), Some(&"third"));
        // A late end of the first one does not take the third's number away.
        assert_eq!(registry.remove(first), None);
        assert_eq!(registry.all().len(), 2);
    }

    #[test]
    fn requests_are_in_flight_until_they_end() {
        let mut registry = Registry::default();
        let mut number = None;
        registry.add(|id| number = Some(id)).unwrap();
        assert_eq!(registry.in_flight(), 1);
        registry.note_end();
        assert_eq!(registry.in_flight(), 0);
        assert!(registry.find(number.unwrap()).is_some());
    }

    #[test]
    fn an_id_survives_as_a_number() {
        let id = Id { index: 7, generation: 3 };
        assert_eq!(Id::from_bits(id.to_bits()), Some(id));
        assert_eq!(Id::from_bits(0), None);
        assert_eq!(Id::from_bits(7), None);
    }
}
