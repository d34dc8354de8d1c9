//! What all requests of a mount share. The engine makes one template dictionary of it, so that it is the same
//! bytes each time.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::conf::location::LocationConf;
use crate::conf::mount::Target;
use crate::http::key::Key;
use crate::http::packed::{Name, Packed, Packer, entries};

/// What a server says of itself and of where an application is mounted. Each key that is `None` is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site<'a> {
    /// `SERVER_SOFTWARE`.
    pub software: Option<&'a [u8]>,
    /// `SERVER_NAME`, where it is the same for every request.
    pub server_name: Option<&'a [u8]>,
    /// `SERVER_ADMIN`.
    pub admin: Option<&'a [u8]>,
    /// `DOCUMENT_ROOT`, where it is the same for every request.
    pub document_root: Option<&'a [u8]>,
    /// `mod_wsgi.mount_point`, where it is the same for every request.
    pub mount_point: Option<&'a [u8]>,
    /// `CONTEXT_PREFIX`.
    pub context_prefix: Option<&'a [u8]>,
    /// `CONTEXT_DOCUMENT_ROOT`.
    pub context_document_root: Option<&'a [u8]>,
}

/// A mount: which application, and what all its requests share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    script: Option<&'a [u8]>,
    module: Option<&'a [u8]>,
    callable: &'a str,
    reloading: bool,
    group: &'a str,
    site: Site<'a>,
}

impl<'a> Mount<'a> {
    /// An application in a script file, with the settings of its location. `group` is the process group;
    /// empty for the server's own processes.
    #[must_use]
    pub fn of_script(script: &'a Path, callable: &'a str, conf: &LocationConf, group: &'a str) -> Self {
        Self {
            script: Some(script.as_os_str().as_bytes()),
            module: None,
            callable,
            reloading: conf.script_reloading(),
            group,
            site: Site::default(),
        }
    }

    /// An application in a script or in a module.
    #[must_use]
    pub fn new(target: &'a Target, callable: &'a str, conf: &LocationConf, group: &'a str) -> Self {
        match target {
            Target::Script(path) => Self::of_script(path, callable, conf, group),
            Target::Module(module) => Self {
                script: None,
                module: Some(module.as_bytes()),
                ..Self::of_script(Path::new(""), callable, conf, group)
            },
        }
    }

    /// The same mount with what the server says of itself.
    #[must_use]
    pub const fn at(mut self, site: Site<'a>) -> Self {
        self.site = site;
        self
    }

    /// Every key and its value, in the order in which they are packed.
    fn entries(&self) -> impl Iterator<Item = (Key, &'a [u8])> {
        let reloading: &[u8] = if self.reloading { b"1" } else { b"0" };
        [
            (Key::TargetScript, self.script),
            (Key::ScriptFilename, self.script),
            (Key::TargetModule, self.module),
            (Key::CallableObject, Some(self.callable.as_bytes())),
            (Key::ScriptReloading, Some(reloading)),
            (Key::ProcessGroup, Some(self.group.as_bytes())),
            (Key::ApplicationGroup, Some(b"")),
            (Key::RequestHandler, Some(b"wsgi-script")),
            (Key::GatewayInterface, Some(b"CGI/1.1")),
            (Key::ServerSoftware, self.site.software),
            (Key::ServerName, self.site.server_name),
            (Key::ServerAdmin, self.site.admin),
            (Key::DocumentRoot, self.site.document_root),
            (Key::MountPoint, self.site.mount_point),
            (Key::ContextPrefix, self.site.context_prefix),
            (Key::ContextDocumentRoot, self.site.context_document_root),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
    }

    /// Packs the mount.
    #[must_use]
    pub fn pack(&self) -> Packed {
        let mut head = Packer::new();
        for (key, value) in self.entries() {
            head.set(key, value);
        }
        head.finish()
    }

    /// Whether `packed` is this mount.
    fn is_packed_in(&self, packed: &Packed) -> bool {
        self.entries().map(|(key, value)| (Name::Common(key), value)).eq(entries(packed.as_bytes()))
    }
}

/// More mounts than this are not kept: each request of httpd's AddHandler may name another script.
const MAX_CACHED: usize = 32;

/// Mounts that were packed lately, the last one first. What varies from request to request (the script of a
/// variable, the group) is the key; what does not is the same in all of them.
#[derive(Debug, Default)]
pub struct MountCache {
    recent: Vec<Arc<Packed>>,
}

impl MountCache {
    /// An empty cache.
    #[must_use]
    pub const fn new() -> Self {
        Self { recent: Vec::new() }
    }

    /// The packed mount, packed now if it is not known.
    pub fn get(&mut self, mount: &Mount<'_>) -> Arc<Packed> {
        let found = self.recent.iter().position(|packed| mount.is_packed_in(packed));
        let at = found.unwrap_or_else(|| {
            self.recent.truncate(MAX_CACHED - 1);
            self.recent.push(Arc::new(mount.pack()));
            self.recent.len() - 1
        });
        if let Some(upto) = self.recent.get_mut(..=at) {
            upto.rotate_right(1);
        }
        self.recent.first().map_or_else(|| Arc::new(mount.pack()), Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount<'a>(target: &'a Target, group: &'a str) -> Mount<'a> {
        Mount::new(target, "app", &LocationConf::default(), group)
    }

    fn script(path: &str) -> Target {
        Target::Script(path.into())
    }

    #[test]
    fn the_packed_entries_say_what_to_load() {
        let target = script("/a.wsgi");
        let packed = mount(&target, "").at(Site { software: Some(b"x"), ..Site::default() }).pack();
        for (key, value) in [
            (Key::TargetScript, Some(&b"/a.wsgi"[..])),
            (Key::ScriptFilename, Some(b"/a.wsgi")),
            (Key::TargetModule, None),
            (Key::CallableObject, Some(b"app")),
            (Key::ScriptReloading, Some(b"1")),
            (Key::ProcessGroup, Some(b"")),
            (Key::ApplicationGroup, Some(b"")),
            (Key::RequestHandler, Some(b"wsgi-script")),
            (Key::GatewayInterface, Some(b"CGI/1.1")),
            (Key::ServerSoftware, Some(b"x")),
            (Key::ServerName, None),
            (Key::ServerAdmin, None),
        ] {
            assert_eq!(packed.get(key), value, "{key:?}");
        }
        let module = Target::Module("shop.web".into());
        let packed = mount(&module, "shop").pack();
        assert_eq!(packed.get(Key::TargetModule), Some(&b"shop.web"[..]));
        assert_eq!(packed.get(Key::TargetScript), None);
        assert_eq!(packed.get(Key::ScriptFilename), None);
        assert_eq!(packed.get(Key::ProcessGroup), Some(&b"shop"[..]));
    }

    #[test]
    fn a_mount_is_packed_once_for_all_that_is_the_same() {
        let mut cache = MountCache::new();
        let (one, other) = (script("/a.wsgi"), script("/b.wsgi"));
        let first = cache.get(&mount(&one, ""));
        assert_eq!(*first, mount(&one, "").pack());
        assert!(Arc::ptr_eq(&first, &cache.get(&mount(&one, ""))));
        let site = Site { document_root: Some(b"/srv"), ..Site::default() };
        for different in [mount(&other, ""), mount(&one, "shop"), mount(&one, "").at(site)] {
            let second = cache.get(&different);
            assert_eq!(*second, different.pack());
            assert!(Arc::ptr_eq(&second, &cache.get(&different)));
        }
        assert!(Arc::ptr_eq(&first, &cache.get(&mount(&one, ""))));
    }

    #[test]
    fn the_cache_keeps_the_last_ones_and_no_more_than_so_many() {
        let mut cache = MountCache::new();
        let targets: Vec<_> = (0..MAX_CACHED + 5).map(|number| script(&format!("/{number}"))).collect();
        let first = cache.get(&mount(&targets[0], ""));
        for target in &targets {
            let _ = cache.get(&mount(target, ""));
            // It is asked for in between, so that it stays.
            assert!(Arc::ptr_eq(&first, &cache.get(&mount(&targets[0], ""))));
        }
        assert_eq!(cache.recent.len(), MAX_CACHED);
    }
}
