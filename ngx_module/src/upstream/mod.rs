//! Daemon mode in nginx's own upstream machinery: its timeouts, buffers, temporary files, cache and
//! `$upstream_*` variables work as for its other upstreams.
//!
//! What is ours: the request as frames ([`request`]), the connections ([`peer`]), the response from frames
//! ([`response`]), and when a request is sent once more ([`retry`]). All of it runs on the event loop's
//! thread, and belongs to one request ([`UpstreamRequest`]) that its pool frees. [`directives`] and [`merge`]
//! are nginx's directives of an upstream.

#![deny(unsafe_code)]

pub mod directives;
pub mod merge;
mod peer;
mod request;
mod response;
mod retry;

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use shared::fault::Fault;
use shared::http::packed::Packed;
use shared::wire::Conversation;

use crate::ffi::links::Chain;
use crate::ffi::peer::{ConnectionId, IdleOwner};
use crate::ffi::pipe::Pipe;
use crate::ffi::request::Request;
use crate::ffi::upstream::{Switches, Upstream};
use crate::ffi::upstream_callbacks::{self, Callbacks};
use crate::ffi::upstream_conf::{Caches, Timeouts, UpstreamConf};
use crate::ffi::{Code, OK, built_for};
use crate::group_address::GroupAddress;
use crate::log;

/// A request on its way to a worker and back.
struct UpstreamRequest {
    request: Request,
    group: Arc<GroupAddress>,
    mount: Arc<Packed>,
    /// The body is sent as it comes.
    streamed: bool,
    /// The worker is asked for a head only; a HEAD request whose response is to be cached asks for all of it.
    head_only: bool,
    conversation: Option<Box<Conversation>>,
    frames: request::Frames,
    /// The response is complete.
    ended: bool,
    /// It was answered in a way that no other worker is to be asked.
    is_final: bool,
    /// Why no worker serves it: what the next try answers.
    fault: Option<Fault>,
    /// The other end of the connection over which nginx is told so.
    teller: Option<UnixStream>,
    /// How often it was sent.
    tries: u32,
    /// How often a worker gave it back.
    given_back: u32,
    /// How the upstream was before a response came.
    untouched: Switches,
}

/// Sends a request to a group; nginx has it from here on. `timeouts` are the group's where the location does
/// not know it beforehand.
pub fn begin(
    request: Request,
    group: &Arc<GroupAddress>,
    timeouts: Option<Timeouts>,
    mount: Arc<Packed>,
    streamed: bool,
) -> Code {
    let state = UpstreamRequest {
        request,
        group: Arc::clone(group),
        mount,
        streamed,
        head_only: request.is_head(),
        conversation: None,
        frames: request::Frames::default(),
        ended: false,
        is_final: false,
        fault: None,
        teller: None,
        tries: 0,
        given_back: 0,
        untouched: Switches::default(),
    };
    upstream_callbacks::begin(request, streamed, timeouts, state)
}

impl Callbacks for UpstreamRequest {
    const SCHEMA: &'static CStr = c"wsgi://";

    fn conf(request: &Request) -> Option<&UpstreamConf> {
        request.location().map(|location| &location.upstream)
    }

    fn caches(request: &Request) -> Option<&Caches> {
        request.main_conf().map(|main| &main.caches)
    }

    fn is_usable(request: &Request) -> bool {
        built_for::check_upstream(request).map_err(|another| log::emergency(&another.to_string())).is_ok()
    }

    fn create_key(&mut self, upstream: &mut Upstream<'_>) -> Code {
        directives::cache::create_key(self.request, upstream)
    }

    fn create_request(&mut self, upstream: &mut Upstream<'_>) -> Code {
        self.create_frames(upstream)
    }

    fn reinit_request(&mut self, upstream: &mut Upstream<'_>) -> Code {
        self.forget_response(upstream);
        OK
    }

    fn process_header(&mut self, upstream: &mut Upstream<'_>) -> Code {
        self.read_head(upstream)
    }

    fn input_filter_init(&mut self, upstream: &mut Upstream<'_>) -> Code {
        upstream.set_more(!self.ended);
        OK
    }

    fn input_filter(&mut self, upstream: &mut Upstream<'_>, bytes: usize) -> Code {
        self.read_unbuffered(upstream, bytes)
    }

    fn pipe_input_filter(&mut self, pipe: &mut Pipe<'_>) -> Code {
        self.read_buffered(pipe)
    }

    fn output_filter(&mut self, upstream: &mut Upstream<'_>, chain: Chain<'_>) -> Code {
        self.send(upstream, chain)
    }

    fn get_peer(&mut self, upstream: &mut Upstream<'_>) -> Code {
        self.connect(upstream)
    }

    fn free_peer(&mut self, upstream: &mut Upstream<'_>) {
        self.disconnect(upstream);
    }

    fn receive_descriptors(&mut self, files: Vec<OwnedFd>, is_truncated: bool) {
        self.take_descriptors(files, is_truncated);
    }
}

impl IdleOwner for UpstreamRequest {
    fn idle_ended(connection: ConnectionId) {
        peer::forget(connection);
    }
}
