//! The process groups of a configuration, and which of them runs a request.

use std::path::Path;

use thiserror::Error;

use super::group::ProcessGroup;
use crate::fault::Fault;
use crate::launch::handover::{GroupSpec, check_sockets};
use crate::loader::locate::locate;
use crate::preflight;
use crate::preflight::directories::check_sockets_directory;
use crate::vocabulary::value::ValueError;

/// Which processes run an application, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The server's own.
    Embedded,
    /// Those of a group.
    Named(String),
    /// Those that a variable of the request's environment names (`%{ENV:name}`).
    Variable(String),
}

impl Choice {
    /// Reads what is written behind `WSGIProcessGroup` and `process-group=`, or what nginx's variables gave.
    #[must_use]
    pub fn read(written: &str) -> Self {
        match written {
            "" | "%{GLOBAL}" | "embedded" => Self::Embedded,
            _ => match written.strip_prefix("%{ENV:").and_then(|rest| rest.strip_suffix('}')) {
                Some(variable) => Self::Variable(variable.to_owned()),
                None => Self::Named(written.to_owned()),
            },
        }
    }
}

/// Which processes run an application, as decided for a request. There is no way from a group to the server's
/// own processes: an application that has a group is one that its administrator wants nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs<G> {
    /// The server's own.
    Embedded,
    /// Those of a group.
    Group(G),
}

impl<G> Runs<G> {
    /// The same with what `find` gives for the group.
    ///
    /// # Errors
    /// Those of `find`.
    pub fn try_map<T, E>(self, find: impl FnOnce(G) -> Result<T, E>) -> Result<Runs<T>, E> {
        match self {
            Self::Embedded => Ok(Runs::Embedded),
            Self::Group(group) => find(group).map(Runs::Group),
        }
    }
}

/// Why a request's group cannot run it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChoiceError {
    /// No such group.
    #[error("the process group \"{name}\" is not declared ({declared})")]
    Unknown {
        /// What was written.
        name: String,
        /// Those that are.
        declared: String,
    },
    /// A variable chose nothing.
    #[error(
        "the variable that chooses the process group of this request is empty: have it say \"embedded\" for the \
         server's own processes"
    )]
    Empty,
    /// A variable may not choose it.
    #[error(
        "the process group \"{0}\" is not one of those that a variable may choose here (WSGIRestrictProcess, \
         wsgi_restrict_process)"
    )]
    Restricted(String),
    /// It is declared, but not where this process took its configuration from.
    #[error(
        "this process of the server began before the process group \"{0}\" was declared: restart the server"
    )]
    NoPool(String),
}

impl ChoiceError {
    /// What it is called in the table of faults.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unknown { .. } | Self::Empty | Self::Restricted(_) => Fault::NoGroup,
            Self::NoPool(_) => Fault::NoPool,
        }
    }
}

/// The declared groups.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    specs: Vec<GroupSpec>,
}

impl Groups {
    /// Takes a declaration. An identical second one is the same group: configurations clone virtual hosts.
    ///
    /// # Errors
    /// What is wrong with it; the answer otherwise are warnings.
    pub fn declare(&mut self, words: &[String]) -> Result<Vec<String>, ValueError> {
        let (conf, warnings) = ProcessGroup::parse(words)?;
        if let (Some(home), None) = (&conf.python_home, &conf.chroot) {
            let wrong = |error| ValueError::Other(format!("has a Python that cannot be used: {error}"));
            locate(Some(home)).map_err(wrong)?;
        }
        match self.specs.iter().find(|spec| spec.conf.name == conf.name) {
            Some(before) if before.conf == conf => {}
            Some(_) => {
                return Err(ValueError::Other(format!(
                    "declares the process group \"{}\" a second time with other options; give it another name",
                    conf.name
                )));
            }
            None => self.specs.push(GroupSpec { conf, mounts: Vec::new() }),
        }
        Ok(warnings)
    }

    /// Whether any was declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// A group.
    ///
    /// # Errors
    /// [`ChoiceError::Unknown`].
    pub fn find(&self, name: &str) -> Result<&ProcessGroup, ChoiceError> {
        let found = self.specs.iter().find(|spec| spec.conf.name == name);
        found.map(|spec| &spec.conf).ok_or_else(|| {
            let names: Vec<&str> = self.specs.iter().map(|spec| spec.conf.name.as_str()).collect();
            let declared = if names.is_empty() {
                "none is: declare it with WSGIDaemonProcess or wsgi_daemon_process".to_owned()
            } else {
                format!("declared are: {}", names.join(", "))
            };
            ChoiceError::Unknown { name: name.to_owned(), declared }
        })
    }

    /// Which processes run a request, given what was written and the values of the request's variables. Where
    /// there is a list of those that a variable may choose, the server's own processes have to be in it too
    /// (`%{GLOBAL}` or `embedded`), as in mod_wsgi: whoever sets the variable could otherwise run an
    /// application as the server's user. A variable without a value chooses nothing.
    ///
    /// # Errors
    /// [`ChoiceError`].
    pub fn decide(
        &self,
        written: &str,
        restricted: Option<&[String]>,
        variable: impl FnOnce(&str) -> Option<String>,
    ) -> Result<Runs<&ProcessGroup>, ChoiceError> {
        match Choice::read(written) {
            Choice::Embedded => Ok(Runs::Embedded),
            Choice::Named(name) => self.find(&name).map(Runs::Group),
            Choice::Variable(name) => {
                self.chosen_by_variable(&variable(&name).unwrap_or_default(), restricted)
            }
        }
    }

    /// Which processes the value of a variable chose, if it may. The server's own have to be in the list too
    /// where there is one (`%{GLOBAL}` or `embedded`), as in mod_wsgi: whoever sets the variable could
    /// otherwise run an application as the server's user. An empty value is a mistake of the configuration,
    /// and no word for the server's own processes.
    ///
    /// # Errors
    /// [`ChoiceError`].
    pub fn chosen_by_variable(
        &self,
        value: &str,
        restricted: Option<&[String]>,
    ) -> Result<Runs<&ProcessGroup>, ChoiceError> {
        if value.is_empty() {
            return Err(ChoiceError::Empty);
        }
        let is_embedded = |written: &str| Choice::read(written) == Choice::Embedded;
        let is_same = |one: &String| one == value || is_embedded(one) && is_embedded(value);
        if restricted.is_some_and(|allowed| !allowed.iter().any(is_same)) {
            let chosen = if is_embedded(value) { "embedded" } else { value };
            return Err(ChoiceError::Restricted(chosen.to_owned()));
        }
        if is_embedded(value) { Ok(Runs::Embedded) } else { self.find(value).map(Runs::Group) }
    }

    /// Has a group load a mount ahead of its first request.
    pub fn load_ahead(&mut self, name: &str, mount: &[u8]) {
        if let Some(spec) = self.specs.iter_mut().find(|spec| spec.conf.name == name) {
            if !spec.mounts.iter().any(|known| known == mount) {
                spec.mounts.push(mount.to_vec());
            }
        }
    }

    /// Judges what the groups ask of the system. `server` is the user of the server's processes, where the
    /// server is root.
    ///
    /// # Errors
    /// A sentence for the administrator.
    pub fn check(&self, prefix: &Path, server: Option<(u32, u32)>) -> Result<(), String> {
        if self.specs.is_empty() {
            return Ok(());
        }
        for spec in &self.specs {
            let wrong =
                |error: &dyn std::fmt::Display| format!("process group \"{}\": {error}", spec.conf.name);
            preflight::check(&spec.conf, server).map_err(|error| wrong(&error))?;
        }
        check_sockets(prefix, self.specs.iter().map(|spec| spec.conf.name.as_str()))?;
        check_sockets_directory(prefix.parent().unwrap_or_else(|| Path::new("/")), server)
    }

    /// What neatd is told.
    #[must_use]
    pub fn specs(&self) -> &[GroupSpec] {
        &self.specs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declare(groups: &mut Groups, line: &str) -> Result<Vec<String>, ValueError> {
        groups.declare(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_second_declaration_has_to_be_the_same() {
        let mut groups = Groups::default();
        assert_eq!(declare(&mut groups, "shop threads=2"), Ok(vec![]));
        assert_eq!(declare(&mut groups, "shop threads=2"), Ok(vec![]));
        assert!(declare(&mut groups, "shop threads=3").unwrap_err().to_string().contains("second time"));
        assert_eq!(groups.specs().len(), 1);
    }

    #[test]
    fn what_is_not_declared_or_not_allowed_is_refused() {
        let mut groups = Groups::default();
        assert!(groups.find("shop").unwrap_err().to_string().contains("WSGIDaemonProcess"));
        declare(&mut groups, "shop").unwrap();
        assert!(groups.find("ship").unwrap_err().to_string().contains("declared are: shop"));
        let allowed = ["other".to_owned()];
        assert_eq!(
            groups.chosen_by_variable("shop", Some(&allowed)),
            Err(ChoiceError::Restricted("shop".into()))
        );
    }

    #[test]
    fn a_group_that_cannot_be_reached_is_no_reason_to_run_embedded() {
        let mut groups = Groups::default();
        declare(&mut groups, "shop").unwrap();
        let reach = |written: &str, pool: Option<u8>| {
            let runs = groups.decide(written, None, |_| Some("shop".to_owned()));
            runs.and_then(|runs| {
                runs.try_map(|group| pool.ok_or_else(|| ChoiceError::NoPool(group.name.clone())))
            })
        };
        for written in ["shop", "%{ENV:GROUP}"] {
            let error = reach(written, None).unwrap_err();
            assert_eq!(error, ChoiceError::NoPool("shop".into()));
            assert_eq!(error.fault().reply().status, 503);
            assert_eq!(reach(written, Some(7)), Ok(Runs::Group(7)));
        }
        assert_eq!(reach("", None), Ok(Runs::Embedded));
        // Nor is one that there is not.
        assert!(matches!(reach("ship", Some(7)), Err(ChoiceError::Unknown { .. })));
        let unset = groups.decide("%{ENV:GROUP}", Some(&["shop".to_owned()]), |_| None);
        assert_eq!(unset, Err(ChoiceError::Empty));
    }

    #[test]
    fn a_variable_chooses_the_servers_own_processes_only_where_it_may() {
        let mut groups = Groups::default();
        declare(&mut groups, "shop").unwrap();
        let chosen = |value: &str, allowed: Option<&[String]>| {
            groups
                .chosen_by_variable(value, allowed)
                .and_then(|runs| runs.try_map(|conf| Ok(conf.name.clone())))
        };
        let (shop, both) = (["shop".to_owned()], ["shop".to_owned(), "%{GLOBAL}".to_owned()]);
        for allowed in [None, Some(&both[..]), Some(&shop)] {
            assert_eq!(chosen("", allowed), Err(ChoiceError::Empty));
        }
        assert_eq!(ChoiceError::Empty.fault().reply().status, 500);
        for embedded in ["%{GLOBAL}", "embedded"] {
            assert_eq!(chosen(embedded, None), Ok(Runs::Embedded));
            assert_eq!(chosen(embedded, Some(&both)), Ok(Runs::Embedded));
            assert_eq!(chosen(embedded, Some(&shop)), Err(ChoiceError::Restricted("embedded".into())));
        }
        assert_eq!(chosen("shop", Some(&shop)), Ok(Runs::Group("shop".into())));
        assert!(matches!(chosen("ship", None), Err(ChoiceError::Unknown { .. })));
        // A variable names no variable.
        assert!(matches!(chosen("%{ENV:OTHER}", None), Err(ChoiceError::Unknown { .. })));
    }

    #[test]
    fn a_choice_is_read_as_mod_wsgi_writes_it() {
        assert_eq!(Choice::read("%{GLOBAL}"), Choice::Embedded);
        assert_eq!(Choice::read("embedded"), Choice::Embedded);
        assert_eq!(Choice::read("shop"), Choice::Named("shop".into()));
        assert_eq!(Choice::read("%{ENV:GROUP}"), Choice::Variable("GROUP".into()));
    }

    #[test]
    fn a_user_that_is_not_there_is_an_error_of_the_configuration() {
        let mut groups = Groups::default();
        declare(&mut groups, "shop user=no-such-user-here").unwrap();
        let error = groups.check(Path::new("/tmp/wsgi"), Some((1, 1))).unwrap_err();
        assert!(error.contains("shop") && error.contains("no-such-user-here"), "{error}");
    }
}
