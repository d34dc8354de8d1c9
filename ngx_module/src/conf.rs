//! The configuration of the process and of each location: as written, and merged.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use shared::conf::group::ProcessGroup;
use shared::conf::groups::{Choice, Groups};
use shared::conf::location::LocationConf;
use shared::conf::mount::{self, Target, TargetError};
use shared::conf::server::ServerConf;
use shared::http::key::Key;
use shared::http::packed::Packed;
use shared::loader::load;
use shared::loader::locate::Python;
use shared::vocabulary::Setting;
use shared::wsgi::environ::mount::{Mount, MountCache, Site};
use thiserror::Error;

use crate::entry;
use crate::ffi::callback;
use crate::ffi::complex_value::ComplexValue;
use crate::ffi::conf::Conf;
use crate::ffi::cycle;
use crate::ffi::request::Request;
use crate::ffi::upstream_conf::{Caches, UpstreamConf, WrittenTimeouts};
use crate::group_address::{self, GroupAddress};
use crate::upstream::merge;

/// The configuration of the process.
pub struct MainConf {
    /// As written.
    pub process: ServerConf,
    /// The directives that were given.
    pub seen: Vec<Setting>,
    /// Whether any location mounts an application.
    pub is_used: bool,
    /// The mounts that are known before a request comes.
    pub mounts: Vec<Arc<Packed>>,
    /// The Python to load, and the engine.
    pub python: Option<(Python, PathBuf)>,
    /// The declared process groups.
    pub groups: Groups,
    /// The user and the group of nginx's workers, where nginx is root.
    pub server_user: Option<(u32, u32)>,
    /// nginx's pid file, which sockets lie beside.
    pub pid_path: PathBuf,
    /// What `wsgi_cache_path` declares; nginx's own.
    pub caches: Caches,
}

/// Which processes run the application.
#[derive(Clone, Default)]
pub enum Group {
    /// nginx's own.
    #[default]
    Embedded,
    /// A process group's.
    Named(Arc<GroupAddress>),
    /// Those that variables name.
    Variable(Rc<ComplexValue>),
}

impl MainConf {
    /// Nothing written, and room for nginx's caches.
    pub fn new(pid_path: PathBuf, caches: Caches) -> Self {
        Self {
            process: ServerConf::default(),
            seen: Vec::new(),
            is_used: false,
            mounts: Vec::new(),
            python: None,
            groups: Groups::default(),
            server_user: None,
            pid_path,
            caches,
        }
    }
}

/// What `wsgi_pass` says.
pub enum Pass {
    /// The same for every request.
    Fixed(Target, Option<String>),
    /// With variables.
    Variable(ComplexValue),
}

/// A `wsgi_param`.
pub struct Param {
    /// The key of environ.
    pub name: Vec<u8>,
    /// Its value.
    pub value: ComplexValue,
    /// Whether an empty value leaves the key out.
    pub if_not_empty: bool,
}

/// The configuration of a location.
#[derive(Default)]
pub struct LocConf {
    /// The settings that both servers have.
    pub settings: LocationConf,
    /// The directives that were given.
    pub seen: Vec<Setting>,
    /// The application.
    pub pass: Option<Rc<Pass>>,
    /// Further keys of environ.
    pub params: Rc<Vec<Param>>,
    /// Where the application is mounted; empty where the location's name is not the beginning of its paths.
    pub mount_point: Vec<u8>,
    /// The document root, where it has variables.
    pub root: Option<ComplexValue>,
    /// Which processes run the application.
    pub group: Group,
    /// What holds for a process group's answers.
    pub upstream: UpstreamConf,
    /// What is written about the timeouts of a group: one that variables name has its own for the rest.
    pub written_timeouts: WrittenTimeouts,
    /// `wsgi_cache_key`.
    pub cache_key: Option<Rc<ComplexValue>>,
    /// `SERVER_NAME`, where the server's first name is that of one host; otherwise the request says it.
    pub server_name: Option<Vec<u8>>,
    /// The document root, where it has no variables.
    document_root: Option<Vec<u8>>,
    /// The mount, where neither the application nor its group has variables.
    packed: Option<Arc<Packed>>,
    /// The mounts that variables led to lately.
    recent: RefCell<MountCache>,
    /// When the script was last seen to be there.
    seen_at: Cell<i64>,
}

/// Why a request has no application.
#[derive(Debug, Error)]
pub enum NoMount {
    /// The location was not configured.
    #[error("this location has no wsgi_pass")]
    Unset,
    /// nginx could not evaluate the variables, and has logged why.
    #[error("the variables of wsgi_pass have no value")]
    Value,
    /// The value is no target.
    #[error("wsgi_pass: {0}")]
    Target(#[from] TargetError),
    /// There is no such script.
    #[error("the script \"{}\" of wsgi_pass cannot be opened: {why}", path.display())]
    Missing {
        /// The script.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
}

/// A name that says one host, as `SERVER_NAME` has to.
fn names_one_host(name: &[u8]) -> bool {
    !name.is_empty() && name != b"_" && !name.contains(&b'*') && !name.starts_with(b"~")
}

impl LocConf {
    /// Inherits unset values from the context around it, and fills in defaults. `None` when the configuration
    /// is refused, which was logged.
    pub fn merge(&mut self, outer: &Self, conf: &Conf<'_>, main: &mut MainConf) -> Option<()> {
        let mut location = conf.location()?;
        self.settings = self.settings.merge(&outer.settings);
        merge::merge(&mut self.upstream, &outer.upstream);
        if self.params.is_empty() {
            self.params = Rc::clone(&outer.params);
        }
        if self.cache_key.is_none() {
            self.cache_key.clone_from(&outer.cache_key);
        }
        if location.is_part_of_another() {
            self.mount_point.clone_from(&outer.mount_point);
            if self.pass.is_none() {
                self.pass.clone_from(&outer.pass);
            }
        } else if location.is_prefix() {
            self.mount_point = location.name().to_vec();
        }
        let Some(pass) = self.pass.clone() else { return Some(()) };
        if location.is_limit_except() && !location.has_handler() {
            location.set_handler(callback::content(entry::on_request));
        }
        self.set_group(outer, conf, main)?;
        let server_name = location.server_name();
        self.server_name = names_one_host(server_name).then(|| server_name.to_vec());
        self.document_root = location.root().map(<[u8]>::to_vec);
        if self.document_root.is_none() {
            self.root = Some(ComplexValue::compile(conf, b"$document_root")?);
        }
        if let Pass::Fixed(target, callable) = &*pass {
            let packed = Arc::new(self.mount_of(target, callable.as_deref(), self.group_name()).pack());
            self.packed = Some(Arc::clone(&packed));
            match &self.group {
                Group::Named(upstream) => main.groups.load_ahead(&upstream.name, packed.as_bytes()),
                Group::Embedded | Group::Variable(_) if !main.mounts.contains(&packed) => {
                    main.mounts.push(packed)
                }
                Group::Embedded | Group::Variable(_) => {}
            }
        }
        Some(())
    }

    /// Finds the group that runs the application here, and fills in what nginx's upstream needs for it.
    fn set_group(&mut self, outer: &Self, conf: &Conf<'_>, main: &mut MainConf) -> Option<()> {
        let written = self.settings.process_group().to_owned();
        if written.contains('$') {
            self.group = Group::Variable(Rc::new(ComplexValue::compile(conf, written.as_bytes())?));
        } else if let Choice::Named(name) = Choice::read(&written) {
            match main.groups.find(&name) {
                Ok(group) => self.group = Group::Named(Arc::new(GroupAddress::of(main, group))),
                Err(error) => {
                    conf.refuse(&format!("\"wsgi_process_group\": {error}"));
                    return None;
                }
            }
        }
        let is_restricted = main.process.restrict_embedded();
        main.is_used |= !matches!(self.group, Group::Named(_)) && !is_restricted;
        if matches!(self.group, Group::Embedded) {
            return Some(());
        }
        self.written_timeouts = self.upstream.written_timeouts();
        let timeouts = match &self.group {
            Group::Named(group) => group.timeouts,
            // Each of them has its own, which a request brings along.
            Group::Embedded | Group::Variable(_) => group_address::timeouts(&ProcessGroup::named("")),
        };
        let intercept_errors = self.settings.error_override();
        merge::set_defaults(&mut self.upstream, &outer.upstream, conf, timeouts, intercept_errors)
    }

    /// The group's name, where it is fixed; empty for nginx's own processes.
    pub fn group_name(&self) -> &str {
        match &self.group {
            Group::Named(upstream) => &upstream.name,
            Group::Embedded | Group::Variable(_) => "",
        }
    }

    fn mount_of<'a>(&'a self, target: &'a Target, callable: Option<&'a str>, group: &'a str) -> Mount<'a> {
        let callable = callable.unwrap_or(self.settings.callable());
        Mount::new(target, callable, &self.settings, group).at(Site {
            software: Some(cycle::SOFTWARE.as_bytes()),
            server_name: self.server_name.as_deref(),
            admin: None,
            document_root: self.document_root.as_deref(),
            mount_point: Some(&self.mount_point),
            context_prefix: None,
            context_document_root: None,
        })
    }

    /// The packed mount of a request.
    ///
    /// # Errors
    /// [`NoMount`].
    pub fn mount(&self, request: &Request, group: &str) -> Result<Arc<Packed>, NoMount> {
        match self.pass.as_deref() {
            None => Err(NoMount::Unset),
            Some(Pass::Fixed(target, callable)) => {
                // The engine notices changes; that the script is still there is looked at once a second.
                let now = cycle::seconds();
                if self.seen_at.get() != now {
                    check_exists(target)?;
                    self.seen_at.set(now);
                }
                match &self.packed {
                    Some(packed) if group == self.group_name() => Ok(Arc::clone(packed)),
                    _ => Ok(self.recently_packed(&self.mount_of(target, callable.as_deref(), group))),
                }
            }
            Some(Pass::Variable(value)) => {
                let written = value.evaluate(request).ok_or(NoMount::Value)?;
                let (target, callable) = mount::parse_target(&String::from_utf8_lossy(written))?;
                check_exists(&target)?;
                Ok(self.recently_packed(&self.mount_of(&target, callable.as_deref(), group)))
            }
        }
    }

    fn recently_packed(&self, mount: &Mount<'_>) -> Arc<Packed> {
        self.recent.borrow_mut().get(mount)
    }
}

fn check_exists(target: &Target) -> Result<(), NoMount> {
    match target {
        Target::Script(path) => {
            std::fs::metadata(path).map_err(|why| NoMount::Missing { path: path.clone(), why })?;
            Ok(())
        }
        Target::Module(_) => Ok(()),
    }
}

/// Whether the script of a packed mount, if it has one, is there.
pub fn is_there(mount: &Packed) -> bool {
    let path = mount.get(Key::TargetScript).map(|path| Path::new(OsStr::from_bytes(path)));
    path.is_none_or(Path::exists)
}

/// Looks for Python and the engine when all of `http` was read (nginx's `init_main_conf`).
///
/// # Errors
/// There is no Python that can be loaded, or no engine.
pub fn init_main(main: &mut MainConf) -> Result<(), String> {
    if !main.is_used {
        return Ok(());
    }
    let python = main.process.python(main.server_user)?;
    main.python = Some((python, engine_file()?));
    Ok(())
}

/// The engine's file, which lies beside this module.
///
/// # Errors
/// It does not.
pub fn engine_file() -> Result<PathBuf, String> {
    let engine = load::engine_beside(entry::lies_here())
        .ok_or_else(|| "cannot tell where ngx_http_wsgi_module.so lies".to_owned())?;
    if engine.is_file() {
        return Ok(engine);
    }
    Err(format!(
        "\"{}\" is missing: Neat's engine has to lie beside ngx_http_wsgi_module.so",
        engine.display()
    ))
}
