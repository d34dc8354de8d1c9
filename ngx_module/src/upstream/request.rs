//! The request as frames: the head, and nginx's buffers of the body between headers of ours.

use shared::fault::Fault;
use shared::http::body::BodyLength;
use shared::wire::frame::LONGEST_DATA;
use shared::wire::{Begun, BodyMode, Kind, encode};

use super::UpstreamRequest;
use super::directives::cache;
use crate::ffi::links::Chain;
use crate::ffi::request_body::Part;
use crate::ffi::request_buffers::RequestBuffers;
use crate::ffi::upstream::Upstream;
use crate::ffi::{Code, ERROR, OK};
use crate::request;

/// A body that is not longer is copied behind the head, so that the request leaves in one call to the system.
const MAX_COPIED: u64 = 16 * 1024;

/// The frames of a request, whose numbers are not known before there is a connection.
#[derive(Default)]
pub(super) struct Frames {
    number: u16,
    mode: Option<BodyMode>,
    /// How long the hello is, with which the first buffer begins.
    hello: usize,
    /// Where the frames of the first buffer begin. Each further buffer is one frame's header.
    first: Vec<usize>,
    /// The end of a streamed body was said.
    body_ended: bool,
}

/// Where a frame's header has the number of its exchange.
const NUMBER_AT: usize = 6;

impl Frames {
    /// How the body comes.
    pub(super) fn body(&self) -> BodyMode {
        self.mode.unwrap_or(BodyMode::None)
    }

    /// Gives the frames the number of their exchange, and says hello where the connection is new.
    pub(super) fn renumber(&mut self, buffers: &mut RequestBuffers, begun: Begun) {
        let number = begun.exchange;
        self.number = number;
        self.body_ended = false;
        let in_first = self.first.iter().map(|at| (0, *at));
        for (buffer, at) in in_first.chain((1..buffers.len()).map(|buffer| (buffer, 0))) {
            if let Some(place) = buffers.bytes(buffer).get_mut(at + NUMBER_AT..at + NUMBER_AT + 2) {
                place.copy_from_slice(&number.to_le_bytes());
            }
        }
        buffers.skip(0, if begun.needs_hello { 0 } else { self.hello });
    }
}

impl UpstreamRequest {
    pub(super) fn create_frames(&mut self, upstream: &mut Upstream<'_>) -> Code {
        self.untouched = upstream.switches();
        self.try_create(upstream).map_or(ERROR, |()| OK)
    }

    fn try_create(&mut self, upstream: &mut Upstream<'_>) -> Option<()> {
        let request = self.request;
        let conf = request.location()?;
        // nginx takes it back where the whole body came with the head.
        self.streamed &= request.is_unbuffered();
        // A subrequest has nothing of the main request's body.
        let stored = !self.streamed && request.is_main() && !request.is_reading_body();
        let length: u64 = if stored { request.body_parts().map(|part| part.len()).sum() } else { 0 };
        let known = if self.streamed {
            BodyLength::AsAnnounced
        } else {
            request::announced(&request).when_read(stored.then_some(length))
        };
        let mode = match (self.streamed, known) {
            (true, _) => BodyMode::Pushed,
            (false, BodyLength::Known(length)) if length > 0 => BodyMode::Pushed,
            _ => BodyMode::None,
        };
        let for_cache = cache::asks_for(upstream);
        self.head_only &= !for_cache.as_ref().is_some_and(|asked| asked.as_get);
        let head = request::pack(&request, conf, known, for_cache.as_ref())?;
        let mut bytes = Vec::with_capacity(1024);
        encode::hello(&mut bytes);
        let mut frames = vec![bytes.len()];
        self.frames.hello = bytes.len();
        if !encode::request(&mut bytes, 0, self.mount.as_bytes(), head.as_bytes(), mode) {
            // Whom nginx connects to then says it.
            self.fault = Some(Fault::RequestHeadTooLong);
            upstream.buffers().add_bytes(bytes)?;
            upstream.use_buffers();
            return Some(());
        }
        let is_copied =
            stored && mode == BodyMode::Pushed && length <= MAX_COPIED && request.body_is_in_memory();
        if is_copied {
            frames.push(bytes.len());
            bytes.extend_from_slice(&encode::header(Kind::Body, 0, usize::try_from(length).ok()?));
            for part in request.body_parts() {
                if let Part::Memory(part) = part {
                    bytes.extend_from_slice(part);
                }
            }
            frames.push(bytes.len());
            encode::body_end(&mut bytes, 0);
        }
        self.frames.first = frames;
        self.frames.mode = Some(mode);
        upstream.buffers().add_bytes(bytes)?;
        if stored && mode == BodyMode::Pushed && !is_copied {
            upstream.add_body(LONGEST_DATA, |length| encode::header(Kind::Body, 0, length).to_vec())?;
            upstream.buffers().add_bytes(encode::header(Kind::BodyEnd, 0, 0).to_vec())?;
        }
        upstream.use_buffers();
        Some(())
    }

    /// Sends what nginx's output chain hands over (`u->output.output_filter`); of a streamed body each part
    /// gets its header.
    pub(super) fn send(&mut self, upstream: &mut Upstream<'_>, chain: Chain<'_>) -> Code {
        if !self.streamed {
            return upstream.write(chain);
        }
        let ends = !self.request.is_reading_body() && !self.frames.body_ended;
        self.frames.body_ended |= ends;
        let number = self.frames.number;
        let end = ends.then(|| encode::header(Kind::BodyEnd, number, 0));
        upstream.write_framed(chain, |length| encode::header(Kind::Body, number, length), end)
    }
}
