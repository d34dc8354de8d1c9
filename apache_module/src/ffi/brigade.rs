//! Brigades of buckets: how bytes travel through httpd's filters.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};

use httpd_sys::macros::{delete, first, insert_tail};
use httpd_sys::{
    APR_FOPEN_SENDFILE_ENABLED, HTTP_BAD_GATEWAY, ap_bucket_eoc_create, ap_bucket_error_create, ap_filter_t,
    ap_get_brigade, ap_input_mode_t_AP_MODE_READBYTES, ap_pass_brigade, apr_brigade_cleanup,
    apr_brigade_create, apr_brigade_insert_file, apr_bucket, apr_bucket_alloc_t, apr_bucket_brigade,
    apr_bucket_eos_create, apr_bucket_file_enable_mmap, apr_bucket_flush_create, apr_bucket_heap_create,
    apr_bucket_transient_create, apr_bucket_type_eos, apr_file_dup, apr_file_t, apr_off_t, apr_os_file_get,
    apr_os_file_put, apr_read_type_e_APR_BLOCK_READ, apr_read_type_e_APR_NONBLOCK_READ, apr_status_t,
};

use super::Pool;

/// What a bucket is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes, or nothing of interest.
    Data,
    /// The end of the stream.
    End,
}

/// How a file may be read on its way out.
#[derive(Clone, Copy, Debug)]
pub struct FileSending {
    /// By the kernel, where no filter changes it (`EnableSendfile`).
    pub sendfile: bool,
    /// By mapping it (`EnableMMAP`).
    pub mmap: bool,
}

/// A brigade in a request's pool.
pub struct Brigade<'r> {
    raw: *mut apr_bucket_brigade,
    buckets: *mut apr_bucket_alloc_t,
    pool: Pool<'r>,
}

impl<'r> Brigade<'r> {
    /// # Safety
    /// `buckets` is the connection's allocator, and lives as long as the pool.
    pub(super) unsafe fn new(pool: Pool<'r>, buckets: *mut apr_bucket_alloc_t) -> Self {
        // SAFETY: both live.
        let raw = unsafe { apr_brigade_create(pool.raw(), buckets) };
        Self { raw, buckets, pool }
    }

    fn insert(&mut self, bucket: *mut apr_bucket) {
        // SAFETY: the brigade lives, and the bucket was just made for it.
        unsafe { insert_tail(self.raw, bucket) };
    }

    /// Adds a copy of the bytes.
    pub fn add_copy(&mut self, data: &[u8]) {
        // SAFETY: the data lives for the call, and is copied where no way to free it is given.
        let bucket = unsafe { apr_bucket_heap_create(data.as_ptr().cast(), data.len(), None, self.buckets) };
        self.insert(bucket);
    }

    /// Passes bytes on that live for the call only; a filter that keeps them copies them (setaside). `flush`
    /// has them sent.
    ///
    /// # Errors
    /// The status of the filters.
    pub fn pass_borrowed(
        &mut self,
        filters: *mut ap_filter_t,
        data: &[u8],
        flush: bool,
    ) -> Result<(), apr_status_t> {
        // SAFETY: the bucket points to `data`, and is gone from the brigade before this returns.
        let bucket = unsafe { apr_bucket_transient_create(data.as_ptr().cast(), data.len(), self.buckets) };
        self.insert(bucket);
        if flush {
            self.add_flush();
        }
        self.pass(filters)
    }

    /// Adds a range of a file, by a descriptor of its own that goes with the pool, or with the one that a
    /// filter moves it to.
    ///
    /// # Errors
    /// What the system says where the descriptor cannot be duplicated.
    pub fn add_file(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        length: u64,
        sending: FileSending,
    ) -> std::io::Result<()> {
        let too_large = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        let (Ok(offset), Ok(length)) = (apr_off_t::try_from(offset), apr_off_t::try_from(length)) else {
            return Err(too_large());
        };
        offset.checked_add(length).ok_or_else(too_large)?;
        let own = self.duplicate(file, sending.sendfile)?;
        // SAFETY: brigade, file and pool live; the last bucket is one of the file's, which all share what
        // `enable_mmap` changes.
        unsafe {
            let last = apr_brigade_insert_file(self.raw, own, offset, length, self.pool.raw());
            apr_bucket_file_enable_mmap(last, c_int::from(sending.mmap));
        }
        Ok(())
    }

    /// APR's own duplicate of a descriptor. Only what APR opened has a cleanup that moves with the file when
    /// a bucket outlives the request, as in HTTP/2; `apr_os_file_put` takes none over.
    fn duplicate(&self, file: BorrowedFd<'_>, sendfile: bool) -> std::io::Result<*mut apr_file_t> {
        let mut descriptor: c_int = file.as_raw_fd();
        let (mut lent, mut own): (*mut apr_file_t, *mut apr_file_t) =
            (std::ptr::null_mut(), std::ptr::null_mut());
        let flags = if sendfile { APR_FOPEN_SENDFILE_ENABLED } else { 0 };
        // SAFETY: the descriptor is open for the call, and the lent file is not used behind it.
        unsafe {
            let mut status = apr_os_file_put(&raw mut lent, &raw mut descriptor, flags, self.pool.raw());
            if status == 0 {
                status = apr_file_dup(&raw mut own, lent, self.pool.raw());
            }
            if status != 0 {
                return Err(std::io::Error::from_raw_os_error(status));
            }
            // The application's children are not to inherit it.
            if apr_os_file_get(&raw mut descriptor, own) == 0 {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        Ok(own)
    }

    /// Adds: send what came before now.
    pub fn add_flush(&mut self) {
        // SAFETY: the allocator lives.
        let bucket = unsafe { apr_bucket_flush_create(self.buckets) };
        self.insert(bucket);
    }

    /// Adds the end of the response.
    pub fn add_end(&mut self) {
        // SAFETY: the allocator lives.
        let bucket = unsafe { apr_bucket_eos_create(self.buckets) };
        self.insert(bucket);
    }

    /// Adds what mod_proxy adds when a backend breaks in the middle: no last chunk is written, the connection
    /// closes, and an HTTP/2 stream is reset.
    pub fn add_cut(&mut self) {
        // SAFETY: the allocator and the pool live.
        unsafe {
            let broken =
                ap_bucket_error_create(HTTP_BAD_GATEWAY, std::ptr::null(), self.pool.raw(), self.buckets);
            insert_tail(self.raw, broken);
            insert_tail(self.raw, ap_bucket_eoc_create(self.buckets));
        }
    }

    /// Passes the brigade on, and empties it.
    ///
    /// # Errors
    /// The status of the filters.
    pub fn pass(&mut self, filters: *mut ap_filter_t) -> Result<(), apr_status_t> {
        // SAFETY: the request's filters live as long as the request; the brigade is ours.
        let status = unsafe {
            let status = ap_pass_brigade(filters, self.raw);
            apr_brigade_cleanup(self.raw.cast());
            status
        };
        if status == 0 { Ok(()) } else { Err(status) }
    }

    /// Reads up to `most` bytes of the request's body into the brigade, waiting for the first where `waits`
    /// says so.
    ///
    /// # Errors
    /// The status of the filters; `EAGAIN` where nothing is at hand.
    pub fn fill(&mut self, filters: *mut ap_filter_t, most: usize, waits: bool) -> Result<(), apr_status_t> {
        let wait = if waits { apr_read_type_e_APR_BLOCK_READ } else { apr_read_type_e_APR_NONBLOCK_READ };
        let most = apr_off_t::try_from(most).unwrap_or(apr_off_t::MAX);
        let mode = ap_input_mode_t_AP_MODE_READBYTES;
        // SAFETY: as for `pass`.
        let status = unsafe { ap_get_brigade(filters, self.raw, mode, wait, most) };
        if status == 0 { Ok(()) } else { Err(status) }
    }

    /// Takes the first bucket off and hands its bytes to `take`, which says how many of them it took; the
    /// rest stays. `None` when the brigade is empty.
    ///
    /// # Errors
    /// The status of reading the bucket.
    pub fn read_first(&mut self, take: impl FnOnce(&[u8]) -> usize) -> Result<Option<Kind>, apr_status_t> {
        // SAFETY: the brigade lives; a bucket of it lives until `delete`.
        let (bucket, is_end) = unsafe {
            let bucket = first(self.raw);
            if bucket.is_null() {
                return Ok(None);
            }
            (bucket, std::ptr::eq((*bucket).type_, &raw const apr_bucket_type_eos))
        };
        if is_end {
            // SAFETY: as above.
            unsafe { delete(bucket) };
            return Ok(Some(Kind::End));
        }
        // SAFETY: as above; what is read lives as long as the bucket.
        unsafe {
            let bytes = read(bucket)?;
            let (taken, length) = (take(bytes), bytes.len());
            match (*(*bucket).type_).split {
                Some(split) if taken < length => _ = split(bucket, taken),
                // A bucket that cannot be split stays until all of it is taken.
                None if taken < length => return Ok(Some(Kind::Data)),
                _ => {}
            }
            delete(bucket);
        }
        Ok(Some(Kind::Data))
    }
}

/// The bytes of a bucket, which are waited for.
///
/// # Safety
/// The bucket is of a brigade that lives, and not deleted for `'b`.
unsafe fn read<'b>(bucket: *mut apr_bucket) -> Result<&'b [u8], apr_status_t> {
    let (mut data, mut length) = (std::ptr::null(), 0);
    // SAFETY: the caller's promise; what `read` hands out lives as long as the bucket.
    unsafe {
        if let Some(read) = (*(*bucket).type_).read {
            let status = read(bucket, &raw mut data, &raw mut length, apr_read_type_e_APR_BLOCK_READ);
            if status != 0 {
                return Err(status);
            }
        }
        Ok(if length == 0 { &[] } else { std::slice::from_raw_parts(data.cast::<u8>(), length) })
    }
}
