//! Reading what an administrator wrote behind a directive.

use std::path::PathBuf;

use thiserror::Error;

use super::{Directive, Kind};

/// What was written, read by the directive's [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Number`].
    Number(u32),
    /// Of [`Kind::Word`].
    Word(String),
    /// Of [`Kind::Path`].
    Path(PathBuf),
    /// Of [`Kind::Paths`].
    Paths(Vec<PathBuf>),
    /// Of [`Kind::Words`].
    Words(Vec<String>),
}

/// What is wrong with a directive's value. The server adds file and line, and the module the directive's
/// name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// Neither on nor off.
    #[error("takes \"on\" or \"off\", not \"{0}\"")]
    Flag(String),
    /// Not a number, or out of range.
    #[error("takes a whole number from {low} to {high}, not \"{given}\"")]
    Number {
        /// What was written.
        given: String,
        /// The smallest number allowed.
        low: u32,
        /// The largest number allowed.
        high: u32,
    },
    /// Not UTF-8.
    #[error("has a value that is not UTF-8: \"{0}\"")]
    NotUtf8(String),
    /// Nothing where something is needed.
    #[error("has an empty value")]
    Empty,
    /// A path that does not begin at the root, so that it depends on where the server was started.
    #[error("takes an absolute path, not \"{0}\"")]
    Relative(String),
    /// Too few words or too many.
    #[error("takes {0}, not {1} values")]
    Count(&'static str, usize),
    /// Anything else that a module found.
    #[error("{0}")]
    Other(String),
}

/// Reads the words behind a directive.
///
/// # Errors
/// A [`ValueError`] that says what was given and what is allowed.
pub fn parse(directive: &Directive, words: &[&[u8]]) -> Result<Value, ValueError> {
    let words = words
        .iter()
        .map(|word| {
            std::str::from_utf8(word)
                .map_err(|_| ValueError::NotUtf8(String::from_utf8_lossy(word).into_owned()))
        })
        .collect::<Result<Vec<&str>, _>>()?;
    if let Kind::Words(least, most) = directive.kind {
        if words.len() < usize::from(least) || words.len() > usize::from(most) {
            return Err(ValueError::Count(directive.syntax, words.len()));
        }
        return Ok(Value::Words(words.into_iter().map(str::to_owned).collect()));
    }
    let [word] = words.as_slice() else {
        return Err(ValueError::Count(directive.syntax, words.len()));
    };
    one(directive.kind, word)
}

fn one(kind: Kind, word: &str) -> Result<Value, ValueError> {
    if word.is_empty() {
        return Err(ValueError::Empty);
    }
    match kind {
        Kind::Flag if word.eq_ignore_ascii_case("on") => Ok(Value::Flag(true)),
        Kind::Flag if word.eq_ignore_ascii_case("off") => Ok(Value::Flag(false)),
        Kind::Flag => Err(ValueError::Flag(word.to_owned())),
        Kind::Number(low, high) => word
            .parse()
            .ok()
            .filter(|number| (low..=high).contains(number))
            .map(Value::Number)
            .ok_or_else(|| ValueError::Number { given: word.to_owned(), low, high }),
        Kind::Path => absolute(word).map(Value::Path),
        Kind::Paths => word.split(':').map(absolute).collect::<Result<_, _>>().map(Value::Paths),
        Kind::Word | Kind::Words(..) => Ok(Value::Word(word.to_owned())),
    }
}

fn absolute(word: &str) -> Result<PathBuf, ValueError> {
    let path = PathBuf::from(word);
    if path.is_absolute() { Ok(path) } else { Err(ValueError::Relative(word.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::super::{DIRECTIVES, Setting};
    use super::*;

    fn read(setting: Setting, words: &[&str]) -> Result<Value, ValueError> {
        let directive = DIRECTIVES.iter().find(|directive| directive.setting == setting).unwrap();
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        parse(directive, &words)
    }

    #[test]
    fn a_flag_is_on_or_off_in_any_case() {
        assert_eq!(read(Setting::PassAuthorization, &["On"]), Ok(Value::Flag(true)));
        assert_eq!(read(Setting::PassAuthorization, &["OFF"]), Ok(Value::Flag(false)));
        assert_eq!(read(Setting::PassAuthorization, &["yes"]), Err(ValueError::Flag("yes".into())));
    }

    #[test]
    fn a_number_out_of_range_names_the_range() {
        assert_eq!(read(Setting::Threads, &["16"]), Ok(Value::Number(16)));
        for wrong in ["0", "1025", "-1", "many", "4294967296"] {
            let error = read(Setting::Threads, &[wrong]).unwrap_err();
            assert_eq!(error.to_string(), format!("takes a whole number from 1 to 1024, not \"{wrong}\""));
        }
    }

    #[test]
    fn paths_are_absolute() {
        assert_eq!(
            read(Setting::PythonPath, &["/a:/b"]),
            Ok(Value::Paths(vec![PathBuf::from("/a"), PathBuf::from("/b")]))
        );
        assert_eq!(read(Setting::PythonHome, &["venv"]), Err(ValueError::Relative("venv".into())));
        assert_eq!(read(Setting::PythonHome, &[""]), Err(ValueError::Empty));
    }

    #[test]
    fn words_are_counted() {
        assert!(read(Setting::Param, &["A", "b", "if_not_empty"]).is_ok());
        assert!(matches!(read(Setting::Param, &["A"]), Err(ValueError::Count(_, 1))));
    }
}
