//! Buffers and temporary files of a response: how large they are where nothing says it.

use crate::ffi::upstream_conf::{UNSET, UpstreamConf, page_size};

/// The buffer of a head, where a page is smaller.
const HEAD: usize = 16 * 1024;
/// How many buffers a body has.
const COUNT: isize = 8;

/// Gives what is not written its default, and judges what is.
///
/// # Errors
/// What is wrong with what was written.
pub(crate) fn set_defaults(conf: &mut UpstreamConf) -> Result<(), &'static str> {
    let or = |field: &mut usize, default: usize| {
        if *field == UNSET {
            *field = default;
        }
        *field
    };
    let head = or(conf.buffer_size(), page_size().max(HEAD));
    let buffers = conf.bufs();
    if buffers.num == 0 {
        (buffers.num, buffers.size) = (COUNT, page_size());
    }
    if buffers.num < 2 {
        return Err("there must be at least 2 \"wsgi_buffers\"");
    }
    let size = head.max(buffers.size);
    let busy = or(conf.busy_buffers_size_conf(), 2 * size);
    if busy < size {
        return Err(
            "\"wsgi_busy_buffers_size\" must be equal to or greater than the maximum of the value of \
                    \"wsgi_buffer_size\" and one of the \"wsgi_buffers\"",
        );
    }
    *conf.busy_buffers_size() = busy;
    *conf.temp_file_write_size() = or(conf.temp_file_write_size_conf(), 2 * size);
    *conf.max_temp_file_size() = *conf.max_temp_file_size_conf();
    Ok(())
}
