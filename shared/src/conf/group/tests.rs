use super::*;
use crate::vocabulary::group::GroupOption;
use proptest::prelude::*;

fn parse(line: &str) -> Result<ProcessGroup, String> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    ProcessGroup::parse(&words).map(|(conf, _)| conf).map_err(|error| error.to_string())
}

#[test]
fn what_is_not_written_has_its_default() {
    assert_eq!(parse("shop").unwrap(), ProcessGroup::named("shop"));
    let conf = parse("shop processes=1 threads=15").unwrap();
    assert_eq!((conf.process_count(), conf.threads, conf.is_multiprocess()), (1, 15, true));
    assert!(!ProcessGroup::named("shop").is_multiprocess());
}

#[test]
fn values_are_read_by_their_kind() {
    let conf = parse(
        "shop user=ada umask=0027 home=/srv memory-limit=256m:1g request-timeout=2m queue-timeout=off \
         python=/srv/venv/bin/python3 python-path=/a:/b maximum-requests=500 cpu-priority=-5 preload=off",
    )
    .unwrap();
    assert_eq!(
        (conf.umask, conf.memory_soft, conf.memory_hard),
        (Some(0o27), Some(256 << 20), Some(1 << 30))
    );
    assert_eq!((conf.request_timeout, conf.queue_timeout), (Some(Duration::from_secs(120)), None));
    assert_eq!(conf.python_home, Some(PathBuf::from("/srv/venv")));
    assert_eq!((conf.python_path.len(), conf.cpu_priority, conf.preload), (2, Some(-5), false));
}

#[test]
fn what_is_wrong_is_said_with_what_is_allowed() {
    for (line, part) in [
        ("shop processes=0", "from 1 to 1024"),
        ("shop threads=x", "threads=x"),
        ("shop user=root", "root"),
        ("shop home=srv", "absolute"),
        ("shop treads=5", "threads"),
        ("shop threads=1 threads=2", "twice"),
        ("shop threads", "option=value"),
        ("sh/op", "name"),
        ("embedded", "name"),
        ("shop umask=9", "octal"),
        ("shop request-timeout=fast", "seconds"),
        ("shop memory-limit=2g:1g", "below"),
        ("shop memory-limit=512", "at least 1m"),
        ("shop stack-size=1k", "from 64k"),
        ("shop maximum-requests=-1", "maximum-requests=-1"),
        ("shop socket-timeout=off", "cannot be off"),
        ("shop supplementary-groups=a,,b", "comma"),
        ("shop switch-interval=0", "0.005"),
        ("shop user=", "user="),
        ("shop user=#0", "root"),
        ("shop python=/python3", "executable"),
        ("shop python=/a/bin/python3 python-home=/b", "both"),
        ("shop request_timeout=5", "did you mean request-timeout"),
        ("shop zzz=5", "DIRECTIVES.md"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.contains(part), "{line}: {error}");
    }
}

/// A value of an option's kind that is not its default.
fn sample(option: &GroupOption) -> String {
    match option.kind {
        OptionKind::Flag if option.default == "on" => "off".to_owned(),
        OptionKind::Flag => "on".to_owned(),
        OptionKind::Path | OptionKind::Paths => "/srv/x/y".to_owned(),
        OptionKind::SoftAndHard(low) => format!("{low}:{low}"),
        OptionKind::Size(low, _) => low.to_string(),
        OptionKind::Text if option.name == "switch-interval" => "0.01".to_owned(),
        OptionKind::Text | OptionKind::List => "word".to_owned(),
        _ => "7".to_owned(),
    }
}

fn fields(conf: &ProcessGroup) -> serde_json::Map<String, serde_json::Value> {
    serde_json::to_value(conf).unwrap().as_object().unwrap().clone()
}

#[test]
fn every_option_changes_its_own_field() {
    let before = fields(&ProcessGroup::named("shop"));
    for option in GROUP_OPTIONS {
        let expected: &[&str] = match option.name {
            "memory-limit" => &["memory_hard", "memory_soft"],
            "python" => &["python", "python_home"],
            name if matches!(option.kind, OptionKind::Retired { .. }) => {
                assert!(!before.contains_key(&name.replace('-', "_")));
                &[]
            }
            name => &[&name.replace('-', "_")],
        };
        let after = fields(&parse(&format!("shop {}={}", option.name, sample(option))).unwrap());
        let changed: Vec<&str> =
            after.keys().filter(|name| after[*name] != before[*name]).map(String::as_str).collect();
        assert_eq!(changed, expected, "{}", option.name);
    }
}

#[test]
fn the_defaults_of_the_table_are_those_that_hold() {
    for option in GROUP_OPTIONS {
        let is_value = match option.kind {
            OptionKind::Retired { .. } => false,
            // The rest are words about where a default comes from.
            OptionKind::Size(..) => option.default.starts_with(|first: char| first.is_ascii_digit()),
            OptionKind::Text => matches!(option.name, "lang" | "locale"),
            OptionKind::Path | OptionKind::Paths | OptionKind::List => false,
            OptionKind::Octal | OptionKind::Signed(..) => false,
            _ => option.name != "processes",
        };
        if is_value {
            let conf = parse(&format!("shop {}={}", option.name, option.default)).unwrap();
            assert_eq!(conf, ProcessGroup::named("shop"), "{}={}", option.name, option.default);
        }
    }
}

#[test]
fn what_mod_wsgi_had_is_accepted_with_a_warning() {
    let words = ["shop", "proxy-buffer-size=65536", "newrelic-environment=production"].map(str::to_owned);
    let (conf, warnings) = ProcessGroup::parse(&words).unwrap();
    assert_eq!(conf, ProcessGroup::named("shop"));
    assert!(warnings[0].contains("response-buffer-size"), "{warnings:?}");
    assert!(warnings[1].contains("NEW_RELIC_ENVIRONMENT"), "{warnings:?}");
}

#[test]
fn a_zero_means_what_it_does_in_mod_wsgi() {
    let conf = parse("shop socket-timeout=0 shutdown-timeout=0 request-timeout=0 stack-size=0").unwrap();
    let default = ProcessGroup::named("shop");
    assert_eq!((conf.socket_timeout, conf.stack_size), (default.socket_timeout, default.stack_size));
    assert_eq!((conf.shutdown_timeout, conf.request_timeout), (Duration::ZERO, None));
}

#[test]
fn it_travels_as_json() {
    let conf = parse("shop user=ada request-timeout=1.5 memory-limit=1m").unwrap();
    let text = serde_json::to_string(&conf).unwrap();
    assert_eq!(serde_json::from_str::<ProcessGroup>(&text).unwrap(), conf);
}

proptest! {
    #[test]
    fn no_words_panic(words in proptest::collection::vec("[a-z=:#0-9.%{}-]{0,20}", 0..5)) {
        let _ = ProcessGroup::parse(&words);
    }
}
