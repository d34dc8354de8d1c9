//! Reading what is written behind an option of a process group. Each error says which option, what was given
//! and what is allowed.

use std::time::Duration;

use super::value::ValueError;

/// Longer times are taken for slips.
const MAX_TIME: Duration = Duration::from_secs(10_000 * 86_400);

/// That an option's value is not what the option takes.
#[must_use]
pub fn wrong(option: &str, given: &str, allowed: &str) -> ValueError {
    ValueError::Other(format!("has {option}={given}, but {option} takes {allowed}"))
}

fn is_off(given: &str) -> bool {
    given.eq_ignore_ascii_case("off")
}

/// Splits `15m` into `15` and `m`.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    text.split_at(end)
}

fn read_time(given: &str) -> Option<Duration> {
    let (number, unit) = split_unit(given);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= MAX_TIME)?;
    // A time that is too short to be told from none is not to turn into one.
    let is_none = number.bytes().all(|letter| matches!(letter, b'0' | b'.'));
    (is_none || !time.is_zero()).then_some(time)
}

/// Reads a time; `None` for none.
///
/// # Errors
/// Not a time.
pub fn time(option: &str, given: &str) -> Result<Option<Duration>, ValueError> {
    if is_off(given) {
        return Ok(None);
    }
    let read = read_time(given).map(|time| (!time.is_zero()).then_some(time));
    read.ok_or_else(|| {
        wrong(option, given, "seconds (5, 0.5, 500ms, 5s, 2m, 1h, 1d; at most 10000d), or off")
    })
}

/// Reads a time that may be none at all, and that nothing can go without.
///
/// # Errors
/// Not a time.
pub fn grace(option: &str, given: &str) -> Result<Duration, ValueError> {
    read_time(given).ok_or_else(|| {
        wrong(option, given, "seconds (5, 0.5, 500ms, 5s, 2m, 1h, 1d; at most 10000d), or 0 for none at all")
    })
}

/// Reads a time that somebody waits; `None` for the default.
///
/// # Errors
/// Not a time.
pub fn wait(option: &str, given: &str) -> Result<Option<Duration>, ValueError> {
    let read = read_time(given).map(|time| (!time.is_zero()).then_some(time));
    read.ok_or_else(|| {
        wrong(
            option,
            given,
            "seconds (5, 0.5, 500ms, 5s, 2m, 1h, 1d; at most 10000d), or 0 for the default; it cannot be off",
        )
    })
}

fn read_size(given: &str) -> Option<u64> {
    let (number, unit) = split_unit(given);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Reads a size in bytes, from `low` to `high`; `None` for none, or for the default where there is one.
///
/// # Errors
/// Not a size, or out of the range.
pub fn size(option: &str, given: &str, low: u64, high: u64) -> Result<Option<u64>, ValueError> {
    match read_size(given) {
        _ if is_off(given) => Ok(None),
        Some(0) => Ok(None),
        Some(bytes) if (low..=high).contains(&bytes) => Ok(Some(bytes)),
        _ => Err(wrong(option, given, &sizes_from_to(low, high))),
    }
}

/// A size as people write it.
pub(super) fn short_size(bytes: u64) -> String {
    match bytes.trailing_zeros() {
        30.. => format!("{}g", bytes >> 30),
        20.. => format!("{}m", bytes >> 20),
        10.. => format!("{}k", bytes >> 10),
        _ => bytes.to_string(),
    }
}

fn sizes_from_to(low: u64, high: u64) -> String {
    let low = short_size(low);
    if high == u64::MAX {
        format!("bytes (at least {low}; as in 1048576, 512k, 64m, 2g), or off")
    } else {
        format!("bytes (from {low} to {}; as in 65536, 512k, 64m), or 0 for the default", short_size(high))
    }
}

/// Reads a soft size and, behind a `:`, a hard one; `None` for none.
///
/// # Errors
/// Not sizes, too small, or the hard one below the soft one.
pub fn soft_and_hard(option: &str, given: &str, low: u64) -> Result<(Option<u64>, Option<u64>), ValueError> {
    let (soft, hard) = given.split_once(':').unwrap_or((given, "off"));
    let limits = (size(option, soft, low, u64::MAX)?, size(option, hard, low, u64::MAX)?);
    match limits {
        (Some(soft), Some(hard)) if hard < soft => Err(ValueError::Other(format!(
            "has {option}={given}, whose hard limit is below the soft one; write {option}=soft:hard"
        ))),
        _ => Ok(limits),
    }
}

/// Reads a whole number in a range.
///
/// # Errors
/// Not a number, or out of the range.
pub fn number(option: &str, given: &str, low: u64, high: u64) -> Result<u64, ValueError> {
    let read = given.parse().ok().filter(|number| (low..=high).contains(number));
    read.ok_or_else(|| wrong(option, given, &format!("a whole number from {low} to {high}")))
}

/// Reads a whole number; `None` for none.
///
/// # Errors
/// Not a number.
pub fn count(option: &str, given: &str) -> Result<Option<u64>, ValueError> {
    if is_off(given) {
        return Ok(None);
    }
    let read = given.parse::<u64>().map(|number| (number > 0).then_some(number));
    read.map_err(|_| wrong(option, given, "a whole number, or off"))
}

/// Reads a flag.
///
/// # Errors
/// Neither on nor off.
pub fn flag(option: &str, given: &str) -> Result<bool, ValueError> {
    match given {
        _ if given.eq_ignore_ascii_case("on") => Ok(true),
        _ if is_off(given) => Ok(false),
        _ => Err(wrong(option, given, "on or off")),
    }
}

/// Reads octal digits.
///
/// # Errors
/// Other digits, or more than permissions have.
pub fn octal(option: &str, given: &str) -> Result<u32, ValueError> {
    let read = u32::from_str_radix(given, 8).ok().filter(|mask| *mask <= 0o777);
    read.ok_or_else(|| wrong(option, given, "octal digits from 0 to 0777"))
}

/// Reads a number that may be negative.
///
/// # Errors
/// Not a number, or out of the range.
pub fn signed(option: &str, given: &str, low: i64, high: i64) -> Result<i32, ValueError> {
    let read = given.parse::<i64>().ok().filter(|number| (low..=high).contains(number));
    read.and_then(|number| i32::try_from(number).ok())
        .ok_or_else(|| wrong(option, given, &format!("a whole number from {low} to {high}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        let millis = |text: &str| time("t", text).unwrap().map(|time| time.as_millis());
        for (text, expected) in [
            ("5", 5000),
            ("0.5", 500),
            ("500ms", 500),
            ("2M", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for none in ["0", "0.0", "0s", "off", "OFF"] {
            assert_eq!(millis(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        for text in ["", "s", "-1", "+1", "1.2.3", "1w", "1 s", "nan", "inf", "1e3", "10001d", "0.0000000001"]
        {
            let error = time("queue-timeout", text).unwrap_err().to_string();
            assert!(error.contains(&format!("queue-timeout={text}")), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_off_is_told_from_what_can() {
        assert_eq!(grace("t", "0"), Ok(Duration::ZERO));
        assert_eq!(wait("t", "0"), Ok(None));
        assert!(grace("t", "off").unwrap_err().to_string().contains("0 for none at all"));
        assert!(wait("t", "off").unwrap_err().to_string().contains("cannot be off"));
    }

    #[test]
    fn a_size_is_held_to_its_range() {
        let read = |text: &str| size("s", text, 8 << 10, 1 << 20);
        assert_eq!(read("8k"), Ok(Some(8192)));
        assert_eq!(read("1M"), Ok(Some(1 << 20)));
        assert_eq!((read("0"), read("off")), (Ok(None), Ok(None)));
        for text in ["8191", "1025k", "1.5m", "k", "", "1t", "-8k", "99999999999999999999g", "99999999999g"] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("from 8k to 1m"), "{text}: {error}");
        }
    }

    #[test]
    fn a_hard_limit_is_not_below_the_soft_one() {
        let read = |text: &str| soft_and_hard("memory-limit", text, 1 << 20);
        assert_eq!(read("256m:1g"), Ok((Some(256 << 20), Some(1 << 30))));
        assert_eq!(read("256m"), Ok((Some(256 << 20), None)));
        assert_eq!(read("off:1g"), Ok((None, Some(1 << 30))));
        assert!(read("2g:1g").unwrap_err().to_string().contains("below"));
        // Somebody meant megabytes.
        assert!(read("512").unwrap_err().to_string().contains("at least 1m"));
        assert!(read("1g:2g:3g").is_err());
    }

    #[test]
    fn a_count_may_be_off() {
        assert_eq!(
            (count("c", "500"), count("c", "0"), count("c", "off")),
            (Ok(Some(500)), Ok(None), Ok(None))
        );
        assert!(count("c", "many").is_err());
    }

    proptest! {
        #[test]
        fn every_time_is_read_back(millis in 1_u64..864_000_000_000) {
            let expected = Duration::from_millis(millis);
            let in_millis = format!("{millis}ms");
            let in_seconds = format!("{}.{:03}", millis / 1000, millis % 1000);
            for text in [&in_millis, &in_seconds] {
                let read = time("t", text).unwrap().unwrap();
                prop_assert!(read.abs_diff(expected) < Duration::from_micros(1), "{}", text);
                prop_assert_eq!(wait("t", text), Ok(Some(read)));
                prop_assert_eq!(grace("t", text), Ok(read));
            }
        }

        #[test]
        fn whole_times_are_read_exactly(number in 1_u64..10_000, unit in 0_usize..4) {
            let text = format!("{number}{}", ["s", "m", "h", "d"][unit]);
            let seconds = number * [1, 60, 3600, 86_400][unit];
            prop_assert_eq!(time("t", &text), Ok(Some(Duration::from_secs(seconds))));
        }

        #[test]
        fn every_size_is_read_back(number in 1_u64..1 << 33, unit in 0_usize..4) {
            let text = format!("{number}{}", ["", "k", "m", "g"][unit]);
            prop_assert_eq!(size("s", &text, 1, u64::MAX), Ok(Some(number << (10 * unit))));
        }

        #[test]
        fn a_range_is_never_left(text in "[0-9]{1,12}[kmg]?", low in 1_u64..1 << 20, more in 0_u64..1 << 40) {
            if let Ok(Some(bytes)) = size("s", &text, low, low + more) {
                prop_assert!((low..=low + more).contains(&bytes));
            }
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,24}") {
            let _ = (time("o", &text), grace("o", &text), wait("o", &text), count("o", &text));
            let _ = (size("o", &text, 1, 2), soft_and_hard("o", &text, 1), number("o", &text, 1, 2));
            let _ = (flag("o", &text), octal("o", &text), signed("o", &text, -20, 19));
        }
    }
}
