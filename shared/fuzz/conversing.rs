//! What holds of a conversation with a worker ([`shared::wire::conversation`]), whatever the worker sends.

use std::fs::File;

use shared::wire::frame::next_exchange;
use shared::wire::{BodyMode, Conversation, Cut, Event, WireError};

use super::{FIRST, SILENT};

/// A server that sends its next request as soon as it may, gives each file that a head announces a
/// descriptor, and a worker that asks for a body its portion.
pub struct Conversing {
    conversation: Conversation,
    choices: u8,
    /// How many events came, apart from data.
    events: usize,
    mode: BodyMode,
    has_head: bool,
    /// What came, with the portions of data joined.
    seen: Vec<String>,
    data: Vec<u8>,
}

impl Conversing {
    /// A connection whose first request is sent.
    pub fn new(choices: u8) -> Self {
        let mut new = Self {
            conversation: Conversation::new(),
            choices,
            events: 0,
            mode: BodyMode::None,
            has_head: false,
            seen: Vec::new(),
            data: Vec::new(),
        };
        new.begin();
        new
    }

    /// Sends the next request, where one may be sent and the choices do not keep silent.
    fn begin(&mut self) {
        if self.choices & (SILENT << (self.events % 3)) != 0 {
            return;
        }
        let exchange = next_exchange(self.conversation.exchange());
        let mode = [BodyMode::Pulled, BodyMode::None, BodyMode::Pushed][usize::from(exchange - 1) % 3];
        let may_be_kept = self.conversation.may_be_kept(&[]);
        let begun = self.conversation.begin(self.choices & (FIRST << (exchange % 4)) != 0, mode);
        // In the middle of a frame it may begin, and break the protocol at the frame's end.
        assert!(begun.is_some() || !may_be_kept);
        if let Some(begun) = begun {
            assert_eq!((begun.exchange, begun.needs_hello), (exchange, exchange == 1));
            assert_eq!(self.conversation.cut(false), Cut::Unsent);
            (self.mode, self.has_head) = (mode, false);
        }
    }

    /// Reads the stream in portions, and what they leave of it as one.
    pub fn read(
        mut self,
        stream: &[u8],
        portions: &mut dyn Iterator<Item = usize>,
    ) -> (Vec<String>, Result<(), WireError>) {
        let mut given = 0;
        for size in portions.chain(std::iter::once(usize::MAX)) {
            let end = given + size.min(stream.len() - given);
            if let Err(error) = self.read_portion(&stream[given..end]) {
                assert_eq!(self.conversation.next(&mut &stream[..]).unwrap_err(), error);
                assert!(!self.conversation.may_be_kept(&[]));
                return (self.seen, Err(error));
            }
            given = end;
        }
        self.join();
        (self.seen, Ok(()))
    }

    fn read_portion(&mut self, portion: &[u8]) -> Result<(), WireError> {
        let mut input = portion;
        while let Some(event) = self.conversation.next(&mut input)? {
            assert!(portion.ends_with(input));
            if let Event::Data(data) = event {
                let read = portion.len() - input.len();
                assert!(self.has_head && !data.is_empty());
                assert_eq!(data.as_ptr(), portion[read - data.len()..].as_ptr(), "the data was copied");
                self.data.extend_from_slice(data);
                continue;
            }
            let is_early = matches!(
                event,
                Event::Informational(_)
                    | Event::Head { .. }
                    | Event::Log(..)
                    | Event::Unlogged
                    | Event::WantBody(_)
                    | Event::Failed { .. }
                    | Event::GoAway
            );
            assert!(is_early || self.has_head);
            let shown = match &event {
                Event::File { offset, length, .. } => format!("File {offset} {length}"),
                event => format!("{event:?}"),
            };
            let is_file = matches!(event, Event::Head { is_file: true, .. });
            let is_head = matches!(event, Event::Head { .. });
            let is_end = matches!(event, Event::End | Event::Failed { .. });
            let is_wanted = matches!(event, Event::WantBody(_));
            let is_going = matches!(event, Event::GoAway);
            self.join();
            self.seen.push(shown);
            if is_head {
                assert!(!self.has_head && self.conversation.has_head());
                assert_eq!(self.conversation.cut(true), Cut::InResponse);
                self.has_head = true;
            }
            if is_file {
                self.conversation.take_descriptors([regular_file()], false);
            }
            if is_wanted {
                assert_eq!(self.mode, BodyMode::Pulled);
                let mut sent = Vec::new();
                assert!(self.conversation.send_body(&mut sent, Ok(b"portion")));
                assert!(!self.conversation.send_body(&mut sent, Ok(b"portion")));
            }
            if is_end {
                assert!(self.conversation.may_be_kept(&[]) && !self.conversation.may_be_kept(b"x"));
                self.has_head = false;
            }
            assert!(!is_going || !self.conversation.may_be_kept(&[]));
            self.events += 1;
            self.begin();
        }
        assert!(input.is_empty(), "a portion was not used up");
        Ok(())
    }

    fn join(&mut self) {
        if !self.data.is_empty() {
            self.seen.push(format!("{:?}", String::from_utf8_lossy(&std::mem::take(&mut self.data))));
        }
    }
}

/// A file of some size: the program itself.
fn regular_file() -> std::os::fd::OwnedFd {
    File::open("/proc/self/exe").expect("this program is a file").into()
}
