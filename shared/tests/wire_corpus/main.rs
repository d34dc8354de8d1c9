//! The fuzz targets' corpus, without a fuzzer: every input that is kept goes through the same check
//! (`shared/fuzz/check.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on is to fail"
)]

#[path = "../../fuzz/check.rs"]
mod check;
mod seeds;

use std::fs;
use std::path::{Path, PathBuf};

use check::SIZES;
use shared::wire::decode::Side;
use shared::wire::frame::{LONGEST_DATA, LONGEST_HEAD, LONGEST_LOG};
use shared::wire::{BodyMode, Kind, encode};

const SIDES: [(Side, &str); 2] = [(Side::Worker, "answers"), (Side::Server, "requests")];

fn place(target: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus")).join(target)
}

/// The inputs of a target, by their names.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(place(target)).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

/// The sizes that cut a stream once, where it can be said so.
fn cut_at(position: usize) -> [u8; SIZES] {
    let blocks = u8::try_from(position / 64).unwrap();
    [if blocks == 0 { 0 } else { 127 + blocks }, (position % 64) as u8, 255, 255]
}

#[test]
fn every_input_holds_whole_and_in_portions() {
    for (side, target) in SIDES {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "nothing in {}", place(target).display());
        for (name, input) in inputs {
            // Captured, and so printed with a failure only.
            println!("{name}");
            check::check(side, &input);
        }
    }
}

#[test]
fn every_input_holds_wherever_it_is_cut() {
    for (side, target) in SIDES {
        for (name, input) in inputs(target) {
            println!("{name}");
            // The hello before the stream counts too.
            for position in 0..(input.len() + 20).min(1000) {
                let mut cut = input.clone();
                if let Some(sizes) = cut.first_chunk_mut::<SIZES>() {
                    *sizes = cut_at(position);
                }
                check::check(side, &cut);
            }
        }
    }
}

#[test]
fn the_seeds_in_the_tree_are_what_is_encoded_today() {
    for (side, target) in SIDES {
        for (name, input) in seeds::of(side) {
            let path = place(target).join(name);
            if std::env::var_os("NEAT_WRITE_CORPUS").is_some() {
                fs::create_dir_all(place(target)).unwrap();
                fs::write(&path, &input).unwrap();
            }
            let found = fs::read(&path).unwrap_or_default();
            assert!(found == input, "{target}/{name}: NEAT_WRITE_CORPUS=1 cargo test -p neat-shared seeds");
        }
    }
}

#[test]
fn the_longest_frames_stay_within_their_limits() {
    // Too long for a corpus.
    let large = |kind, length: usize| [&encode::header(kind, 1, length)[..], &vec![b'x'; length]].concat();
    let mut request = Vec::new();
    assert!(encode::request(&mut request, 1, &[1; 100], &vec![2; LONGEST_HEAD - 108], BodyMode::Pushed));
    let answer = seeds::head_of("200 OK", &[("X", "y")]);
    for (side, sizes, stream) in [
        (Side::Server, [254, 1, 254, 7], [request, large(Kind::Body, LONGEST_DATA)].concat()),
        (Side::Worker, [254, 100, 254, 0], [answer, large(Kind::Chunk, LONGEST_DATA)].concat()),
        (Side::Worker, [200, 3, 0, 0], large(Kind::Log, LONGEST_LOG)),
    ] {
        check::check(side, &[&sizes[..], &[0], &stream, &large(Kind::Flush, 0)].concat());
    }
}
