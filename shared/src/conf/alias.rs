//! What was written behind `WSGIScriptAlias`.

use super::mount::check_callable;
use crate::vocabulary::alias::ALIAS_OPTIONS;
use crate::vocabulary::value::ValueError;

/// The options of an alias, as written. `None` where nothing was, so that the directory's settings hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AliasConf {
    /// `callable-object=`.
    pub callable: Option<String>,
    /// `pass-authorization=`.
    pub pass_authorization: Option<bool>,
    /// `process-group=`.
    pub process_group: Option<String>,
    /// Whether both groups are named, so that the script is loaded when a process begins.
    pub preload: bool,
}

impl AliasConf {
    /// Reads `name=value` words.
    ///
    /// # Errors
    /// A sentence that says which option is wrong and what is allowed.
    pub fn parse(words: &[String]) -> Result<Self, ValueError> {
        let mut conf = Self::default();
        for word in words {
            conf.apply(word)?;
        }
        let names = |option: &str| words.iter().any(|word| word.split('=').next() == Some(option));
        conf.preload = names("process-group") && names("application-group");
        Ok(conf)
    }

    fn apply(&mut self, word: &str) -> Result<(), ValueError> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "callable-object" => {
                check_callable(value).map_err(|error| ValueError::Other(error.to_string()))?;
                self.callable = Some(value.to_owned());
            }
            "pass-authorization" if value.eq_ignore_ascii_case("on") => self.pass_authorization = Some(true),
            "pass-authorization" if value.eq_ignore_ascii_case("off") => {
                self.pass_authorization = Some(false)
            }
            "pass-authorization" => return Err(ValueError::Flag(value.to_owned())),
            "process-group" => self.process_group = Some(value.to_owned()),
            // A process has one interpreter, the main one; whoever asks for it by name gets it.
            "application-group" if value == "%{GLOBAL}" => {}
            "application-group" => {
                return Err(ValueError::Other(format!(
                    "asks for {name}={value}, but this version of Neat runs every application in the main \
                     interpreter of its processes; leave the option out"
                )));
            }
            _ => {
                let known: Vec<String> =
                    ALIAS_OPTIONS.iter().map(|option| format!("{}=", option.name)).collect();
                return Err(ValueError::Other(format!(
                    "has the unknown option \"{word}\"; there are {}",
                    known.join(", ")
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<AliasConf, ValueError> {
        AliasConf::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_option_of_the_table_changes_its_own_field() {
        let nothing = AliasConf::default();
        for option in ALIAS_OPTIONS {
            let (value, expected) = match option.name {
                "callable-object" => ("app", AliasConf { callable: Some("app".into()), ..nothing.clone() }),
                "pass-authorization" => {
                    ("On", AliasConf { pass_authorization: Some(true), ..nothing.clone() })
                }
                "process-group" => {
                    ("shop", AliasConf { process_group: Some("shop".into()), ..nothing.clone() })
                }
                "application-group" => ("%{GLOBAL}", nothing.clone()),
                name => panic!("{name} has no sample here"),
            };
            assert_eq!(parse(&[&format!("{}={value}", option.name)]), Ok(expected), "{}", option.name);
        }
    }

    #[test]
    fn a_script_whose_groups_are_both_named_is_loaded_ahead() {
        assert!(parse(&["process-group=%{GLOBAL}", "application-group=%{GLOBAL}"]).unwrap().preload);
        assert!(!parse(&["process-group=%{GLOBAL}"]).unwrap().preload);
        assert!(!parse(&["application-group=%{GLOBAL}"]).unwrap().preload);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (word, expected) in [
            ("callable-object=a-b", "a-b"),
            ("pass-authorization=maybe", "maybe"),
            ("application-group=other", "main interpreter"),
            (
                "colour=red",
                "\"colour=red\"; there are callable-object=, pass-authorization=, process-group=, \
                 application-group=",
            ),
            ("process-groups", "unknown option"),
        ] {
            let error = parse(&[word]).unwrap_err().to_string();
            assert!(error.contains(expected), "{word}: {error}");
        }
    }
}
