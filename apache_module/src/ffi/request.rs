//! A request of httpd.

use std::ffi::{c_char, c_int};
use std::marker::PhantomData;

use httpd_sys::{
    AP_REQ_REJECT_PATH_INFO, ap_allow_options, ap_context_document_root, ap_context_prefix, ap_document_root,
    ap_get_server_name, ap_get_server_port, ap_log_rerror_, ap_run_http_scheme, ap_set_content_length,
    ap_set_content_type, apr_array_header_t, apr_filetype_e_APR_DIR, apr_filetype_e_APR_NOFILE,
    apr_sockaddr_t, apr_table_add, apr_table_elts, apr_table_entry_t, apr_table_get, apr_table_set,
    apr_table_setn, apr_table_t, core_dir_config, request_rec,
};
use shared::log::Level;

use super::conf_vector::{module_index, slot};
use super::text::{borrowed, terminated};
use super::{Brigade, Pool, Server};

/// A request, which lives for `'r`: the call of a hook.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    raw: *mut request_rec,
    life: PhantomData<&'r ()>,
}

/// `ENABLE_SENDFILE_ON`.
const SENDFILE_ON: u32 = 1;

/// `ENABLE_MMAP_OFF`.
const MMAP_OFF: u32 = 0;

/// What a path of the file system is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Nothing is there.
    Missing,
    /// A directory.
    Directory,
    /// A file, or anything else that can be opened.
    Other,
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $($field:ident).+;)*) => {
        $($(#[$doc])*
        pub fn $name(self) -> Option<&'r [u8]> {
            // SAFETY: the request, its connection and their strings live for 'r.
            unsafe { borrowed((*self.raw).$($field).+) }
        })*
    };
}

impl<'r> Request<'r> {
    /// # Safety
    /// `raw` is a request that lives for `'r`, in the calling thread.
    pub unsafe fn new(raw: *mut request_rec) -> Self {
        Self { raw, life: PhantomData }
    }

    pub(super) const fn raw(self) -> *mut request_rec {
        self.raw
    }

    texts! {
        /// The method.
        method = method;
        /// The decoded path.
        uri = uri;
        /// The request target as sent.
        unparsed_uri = unparsed_uri;
        /// The first line of the request.
        the_request = the_request;
        /// The query.
        query = args;
        /// The protocol, as in `HTTP/1.1`.
        protocol = protocol;
        /// The file that the URL leads to.
        filename = filename;
        /// What comes behind the file in the URL.
        path_info = path_info;
        /// The handler's name.
        handler = handler;
        /// Who was authenticated.
        user = user;
        /// How.
        auth_type = ap_auth_type;
        /// The client's address, as mod_remoteip has it.
        client_address = useragent_ip;
        /// An id that mod_log_config prints with %L.
        log_id = log_id;
    }

    /// The pool that ends with the request.
    pub fn pool(self) -> Pool<'r> {
        // SAFETY: the request's pool lives as long as the request.
        unsafe { Pool::new((*self.raw).pool) }
    }

    /// The virtual host.
    pub fn server(self) -> Server<'r> {
        // SAFETY: the configuration outlives its requests.
        unsafe { Server::new((*self.raw).server) }
    }

    /// This module's configuration of the directory.
    pub fn directory_conf<T>(self) -> Option<&'r T> {
        // SAFETY: the vector has a slot for every loaded module; ours holds what `create_dir_config` or the
        // merge made.
        unsafe { (*slot::<T>((*self.raw).per_dir_config)?).as_ref() }
    }

    /// What this module noted at the request, in an earlier hook.
    pub fn note<T>(self) -> Option<&'r T> {
        // SAFETY: as for `directory_conf`; the slot holds what `set_note` put there.
        unsafe { (*slot::<T>((*self.raw).request_config)?).as_ref() }
    }

    /// Notes something of the configuration at the request; there is one kind of note.
    pub fn set_note<T>(self, note: &'r T) {
        // SAFETY: as for `note`, which only reads.
        unsafe {
            if let Some(slot) = slot::<T>((*self.raw).request_config) {
                *slot = std::ptr::from_ref(note).cast_mut();
            }
        }
    }

    /// Leads the request to a file, and to the handler of a name.
    pub fn lead_to(self, filename: &[u8], handler: &'static std::ffi::CStr) {
        // SAFETY: the request lives; the text lives in its pool, the handler's name for ever.
        unsafe {
            (*self.raw).filename = self.pool().text(filename);
            (*self.raw).handler = handler.as_ptr();
            // What mod_alias says of ScriptAlias: AddHandler and SetHandler are not to take the request away.
            apr_table_setn((*self.raw).notes, c"alias-forced-type".as_ptr(), handler.as_ptr());
        }
    }

    /// What is at the request's file name.
    pub fn file_kind(self) -> FileKind {
        // SAFETY: the request lives.
        match unsafe { (*self.raw).finfo.filetype } {
            kind if kind == apr_filetype_e_APR_NOFILE => FileKind::Missing,
            kind if kind == apr_filetype_e_APR_DIR => FileKind::Directory,
            _ => FileKind::Other,
        }
    }

    /// Whether `Options` has so much.
    pub fn allows(self, option: i32) -> bool {
        // SAFETY: the request lives.
        unsafe { ap_allow_options(self.raw) & option != 0 }
    }

    /// Whether `AcceptPathInfo Off` holds.
    pub fn rejects_path_info(self) -> bool {
        // SAFETY: the request lives.
        unsafe { (*self.raw).used_path_info == AP_REQ_REJECT_PATH_INFO }
    }

    /// The name under which the server was asked for.
    pub fn server_name(self) -> Option<&'r [u8]> {
        // SAFETY: the request lives, and the name at least as long.
        unsafe { borrowed(ap_get_server_name(self.raw)) }
    }

    /// The port under which the server was asked for.
    pub fn server_port(self) -> u16 {
        // SAFETY: the request lives.
        unsafe { ap_get_server_port(self.raw) }
    }

    /// `http` or `https`.
    pub fn scheme(self) -> &'r [u8] {
        // SAFETY: the request lives, and the name for ever.
        unsafe { borrowed(ap_run_http_scheme(self.raw)) }.unwrap_or(b"http")
    }

    /// `DocumentRoot`.
    pub fn document_root(self) -> Option<&'r [u8]> {
        // SAFETY: the request lives.
        unsafe { borrowed(ap_document_root(self.raw)) }
    }

    /// `CONTEXT_PREFIX` and `CONTEXT_DOCUMENT_ROOT`.
    pub fn context(self) -> (Option<&'r [u8]>, Option<&'r [u8]>) {
        // SAFETY: the request lives.
        unsafe { (borrowed(ap_context_prefix(self.raw)), borrowed(ap_context_document_root(self.raw))) }
    }

    /// The client's port.
    pub fn client_port(self) -> u16 {
        // SAFETY: the request lives.
        unsafe { port((*self.raw).useragent_addr) }
    }

    /// When the request came, in microseconds since the epoch.
    pub fn time(self) -> i64 {
        // SAFETY: the request lives.
        unsafe { (*self.raw).request_time }
    }

    /// A header of the request.
    pub fn header(self, name: &std::ffi::CStr) -> Option<&'r [u8]> {
        // SAFETY: the table lives with the request.
        unsafe { borrowed(apr_table_get((*self.raw).headers_in, name.as_ptr())) }
    }

    /// Every header of the request.
    pub fn headers(self) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
        // SAFETY: the table lives with the request, and does not change while environ is made.
        unsafe { entries((*self.raw).headers_in) }
    }

    /// A variable of the request's environment.
    pub fn variable(self, name: &std::ffi::CStr) -> Option<&'r [u8]> {
        // SAFETY: the table lives with the request.
        unsafe { borrowed(apr_table_get((*self.raw).subprocess_env, name.as_ptr())) }
    }

    /// What other modules, and SetEnv, left in the request's environment.
    pub fn environment(self) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
        // SAFETY: as for `headers`.
        unsafe { entries((*self.raw).subprocess_env) }
    }

    /// Whether the end of the response has been passed on.
    pub fn is_response_ended(self) -> bool {
        // SAFETY: the request lives.
        unsafe { (*self.raw).eos_sent != 0 }
    }

    /// The status that the request has so far.
    pub fn status(self) -> i32 {
        // SAFETY: the request lives.
        unsafe { (*self.raw).status }
    }

    /// Sets the status line of the response.
    pub fn set_status(self, status: u16, reason: &[u8]) {
        let line = [status.to_string().as_bytes(), b" ", reason].concat();
        // SAFETY: the request lives, and the line in its pool.
        unsafe {
            (*self.raw).status = c_int::from(status);
            (*self.raw).status_line = self.pool().text(&line);
        }
    }

    /// Forgets the type that the file's name made httpd think of.
    pub fn forget_content_type(self) {
        // SAFETY: the request lives; null is no type.
        unsafe { ap_set_content_type(self.raw, std::ptr::null()) };
    }

    /// Sets the type of the response, and whatever depends on it.
    pub fn set_content_type(self, value: &[u8]) {
        // SAFETY: the request lives, and the text in its pool.
        unsafe { ap_set_content_type(self.raw, self.pool().text(value)) };
    }

    /// Sets the length of the response.
    pub fn set_content_length(self, length: u64) {
        // SAFETY: the request lives.
        unsafe { ap_set_content_length(self.raw, i64::try_from(length).unwrap_or(i64::MAX)) };
    }

    /// Adds a header to the response.
    pub fn add_header(self, name: &[u8], value: &[u8]) {
        let (name, value) = (terminated(name), terminated(value));
        // SAFETY: the table lives with the request, and copies both texts.
        unsafe { apr_table_add((*self.raw).headers_out, name.as_ptr().cast(), value.as_ptr().cast()) };
    }

    /// Adds a header to whatever is answered, an error page too.
    pub fn set_error_header(self, name: &[u8], value: &[u8]) {
        let (name, value) = (terminated(name), terminated(value));
        // SAFETY: as for `add_header`.
        unsafe { apr_table_set((*self.raw).err_headers_out, name.as_ptr().cast(), value.as_ptr().cast()) };
    }

    /// Answers with what is at another path of this server, asked for with GET, as mod_cgi does.
    pub fn redirect_inside(self, path: &[u8]) {
        // SAFETY: the request lives; the texts live as long as it, or for ever.
        unsafe {
            (*self.raw).method = c"GET".as_ptr();
            (*self.raw).method_number = httpd_sys::M_GET as c_int;
            httpd_sys::apr_table_unset((*self.raw).headers_in, c"Content-Length".as_ptr());
            httpd_sys::ap_internal_redirect_handler(self.pool().text(path), self.raw);
        }
    }

    fn core(self) -> Option<&'r core_dir_config> {
        // SAFETY: the core's configuration is the first of the vector, and every request has one.
        unsafe { (*(*self.raw).per_dir_config.cast::<*mut core_dir_config>()).as_ref() }
    }

    /// `EnableSendfile`, as the core has it for this directory.
    pub fn core_sendfile(self) -> bool {
        self.core().is_some_and(|core| core.enable_sendfile() == SENDFILE_ON)
    }

    /// `EnableMMAP`, likewise.
    pub fn core_mmap(self) -> bool {
        self.core().is_none_or(|core| core.enable_mmap() != MMAP_OFF)
    }

    /// An empty brigade for this request.
    pub fn brigade(self) -> Brigade<'r> {
        // SAFETY: the connection's allocator outlives the request's pool.
        unsafe { Brigade::new(self.pool(), (*(*self.raw).connection).bucket_alloc) }
    }

    /// Where the response goes.
    pub fn output_filters(self) -> *mut httpd_sys::ap_filter_t {
        // SAFETY: the request lives. Filters may come and go, so that this is asked for anew each time.
        unsafe { (*self.raw).output_filters }
    }

    /// Where the body comes from.
    pub fn input_filters(self) -> *mut httpd_sys::ap_filter_t {
        // SAFETY: as for `output_filters`.
        unsafe { (*self.raw).input_filters }
    }

    /// Writes a line to the error log, with the request's context.
    pub fn log(self, level: Level, line: &[u8]) {
        let line = terminated(line);
        // SAFETY: the request lives; the format takes one C string.
        unsafe {
            ap_log_rerror_(
                c"mod_neat".as_ptr(),
                0,
                module_index(),
                level as c_int,
                0,
                self.raw,
                c"%s".as_ptr(),
                line.as_ptr().cast::<c_char>(),
            );
        }
    }
}

/// # Safety
/// `address` is null or alive.
pub(super) unsafe fn port(address: *const apr_sockaddr_t) -> u16 {
    // SAFETY: the caller's promise.
    unsafe { address.as_ref() }.map_or(0, |address| address.port)
}

/// The entries of a table.
///
/// # Safety
/// `table` lives for `'r`, and does not change while the entries are read.
unsafe fn entries<'r>(table: *mut apr_table_t) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
    // SAFETY: the caller's promise; the array has `nelts` entries of this type.
    let entries: &'r [apr_table_entry_t] = unsafe {
        let array: &apr_array_header_t = &*apr_table_elts(table);
        match usize::try_from(array.nelts) {
            Ok(count) if count > 0 => std::slice::from_raw_parts(array.elts.cast(), count),
            _ => &[],
        }
    };
    entries.iter().filter_map(|entry| {
        // SAFETY: names and values live with the table.
        unsafe { Some((borrowed(entry.key)?, borrowed(entry.val).unwrap_or(b""))) }
    })
}
