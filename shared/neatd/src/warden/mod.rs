//! The warden of a group: starts its generations, holds its workers to their limits, says why one died, and
//! answers for a group that has none.
//!
//! It is a process of the group's user, so that whatever an application can send, truncate or block ends
//! there; this room imports nothing of the supervisor's, and reaches it through [`site::Site`] alone.

mod allowance;
pub mod backoff;
pub mod deaths;
mod generation;
pub mod group;
mod life;
mod limits;
pub mod lines;
mod memory;
mod output;
mod reports;
mod responder;
#[allow(unsafe_code)]
pub mod scoreboard;
mod scripts;
pub mod site;
mod upkeep;
mod workers;

pub use life::live;

#[cfg(test)]
mod tests {
    #[test]
    fn the_warden_knows_nothing_of_the_supervisor() {
        let room = concat!(env!("CARGO_MANIFEST_DIR"), "/src/warden");
        let supervisor = concat!("crate::", "supervisor");
        let mut count = 0;
        for entry in std::fs::read_dir(room).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains(supervisor), "{}", path.display());
            count += 1;
        }
        assert!(count > 10, "{count} files");
    }
}
