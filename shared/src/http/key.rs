//! The common keys of environ, as numbers.
//!
//! A key that occurs in nearly every request travels as one byte, and the engine finds the Python string for
//! it in a table. The order is part of the boundary: add at the end, and raise
//! [`crate::loader::abi::VERSION`].

macro_rules! keys {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A key of environ that has a number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Key {
            $($(#[$doc])* #[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Key {
            /// Every key, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What the key is called in environ.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The key that is called so, if it has a number.
            #[must_use]
            pub fn of_name(name: &[u8]) -> Option<Self> {
                $(if name == $name.as_bytes() { return Some(Self::$variant); })*
                None
            }
        }
    };
}

keys! {
    /// Control: the script file to load; not a key of environ.
    TargetScript = "neat.target_script",
    /// Control: the dotted module to import; not a key of environ.
    TargetModule = "neat.target_module",
    /// Control: `1` where the script's mtime is to be looked at; not a key of environ.
    ScriptReloading = "neat.script_reloading",
    CallableObject = "mod_wsgi.callable_object",
    ProcessGroup = "mod_wsgi.process_group",
    ApplicationGroup = "mod_wsgi.application_group",
    MountPoint = "mod_wsgi.mount_point",
    RequestHandler = "mod_wsgi.request_handler",
    ListenerHost = "mod_wsgi.listener_host",
    ListenerPort = "mod_wsgi.listener_port",
    RequestId = "mod_wsgi.request_id",
    ConnectionId = "mod_wsgi.connection_id",
    /// Microseconds since the epoch, in decimal; environ has a float of seconds.
    RequestStart = "mod_wsgi.request_start",
    /// Microseconds since the epoch, in decimal; environ has a float of seconds.
    QueueStart = "mod_wsgi.queue_start",
    RequestMethod = "REQUEST_METHOD",
    ScriptName = "SCRIPT_NAME",
    PathInfo = "PATH_INFO",
    QueryString = "QUERY_STRING",
    ContentType = "CONTENT_TYPE",
    ContentLength = "CONTENT_LENGTH",
    ServerName = "SERVER_NAME",
    ServerPort = "SERVER_PORT",
    ServerProtocol = "SERVER_PROTOCOL",
    ServerSoftware = "SERVER_SOFTWARE",
    ServerAddr = "SERVER_ADDR",
    ServerAdmin = "SERVER_ADMIN",
    GatewayInterface = "GATEWAY_INTERFACE",
    RemoteAddr = "REMOTE_ADDR",
    RemotePort = "REMOTE_PORT",
    RemoteHost = "REMOTE_HOST",
    RemoteUser = "REMOTE_USER",
    AuthType = "AUTH_TYPE",
    RequestUri = "REQUEST_URI",
    RequestScheme = "REQUEST_SCHEME",
    UrlScheme = "wsgi.url_scheme",
    DocumentRoot = "DOCUMENT_ROOT",
    ContextPrefix = "CONTEXT_PREFIX",
    ContextDocumentRoot = "CONTEXT_DOCUMENT_ROOT",
    ScriptFilename = "SCRIPT_FILENAME",
    PathTranslated = "PATH_TRANSLATED",
    Https = "HTTPS",
    HttpHost = "HTTP_HOST",
    HttpUserAgent = "HTTP_USER_AGENT",
    HttpAccept = "HTTP_ACCEPT",
    HttpAcceptEncoding = "HTTP_ACCEPT_ENCODING",
    HttpAcceptLanguage = "HTTP_ACCEPT_LANGUAGE",
    HttpAuthorization = "HTTP_AUTHORIZATION",
    HttpCacheControl = "HTTP_CACHE_CONTROL",
    HttpConnection = "HTTP_CONNECTION",
    HttpCookie = "HTTP_COOKIE",
    HttpDnt = "HTTP_DNT",
    HttpExpect = "HTTP_EXPECT",
    HttpForwarded = "HTTP_FORWARDED",
    HttpIfMatch = "HTTP_IF_MATCH",
    HttpIfModifiedSince = "HTTP_IF_MODIFIED_SINCE",
    HttpIfNoneMatch = "HTTP_IF_NONE_MATCH",
    HttpIfRange = "HTTP_IF_RANGE",
    HttpIfUnmodifiedSince = "HTTP_IF_UNMODIFIED_SINCE",
    HttpKeepAlive = "HTTP_KEEP_ALIVE",
    HttpOrigin = "HTTP_ORIGIN",
    HttpPragma = "HTTP_PRAGMA",
    HttpPriority = "HTTP_PRIORITY",
    HttpRange = "HTTP_RANGE",
    HttpReferer = "HTTP_REFERER",
    HttpSecFetchDest = "HTTP_SEC_FETCH_DEST",
    HttpSecFetchMode = "HTTP_SEC_FETCH_MODE",
    HttpSecFetchSite = "HTTP_SEC_FETCH_SITE",
    HttpSecFetchUser = "HTTP_SEC_FETCH_USER",
    HttpTe = "HTTP_TE",
    HttpTransferEncoding = "HTTP_TRANSFER_ENCODING",
    HttpUpgrade = "HTTP_UPGRADE",
    HttpUpgradeInsecureRequests = "HTTP_UPGRADE_INSECURE_REQUESTS",
    HttpVia = "HTTP_VIA",
    HttpXForwardedFor = "HTTP_X_FORWARDED_FOR",
    HttpXForwardedHost = "HTTP_X_FORWARDED_HOST",
    HttpXForwardedProto = "HTTP_X_FORWARDED_PROTO",
    HttpXRealIp = "HTTP_X_REAL_IP",
    HttpXRequestedWith = "HTTP_X_REQUESTED_WITH",
    HttpXRequestId = "HTTP_X_REQUEST_ID",
}

impl Key {
    /// How many keys there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The key with this number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether the key tells the engine something and does not stand in environ.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::TargetScript | Self::TargetModule | Self::ScriptReloading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back_to_the_key() {
        for (number, key) in Key::ALL.iter().enumerate() {
            assert_eq!(Key::of_number(u8::try_from(number).unwrap()), Some(*key));
            assert_eq!(Key::of_name(key.name().as_bytes()), Some(*key));
        }
        assert_eq!(Key::of_number(u8::try_from(Key::COUNT).unwrap()), None);
    }

    #[test]
    fn the_numbers_above_the_keys_stay_free_for_the_packed_head() {
        assert!(Key::COUNT < usize::from(super::super::packed::NAMED));
    }
}
