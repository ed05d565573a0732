//! Replays the inputs that fuzzing found worth keeping through the checks it found them with.
//!
//! `tools/fuzz` looks for new ones; what made a check fail is kept as `tests/fuzz/corpus/<target>/<what-failed>`.

use std::fs;
use std::path::Path;

#[path = "fuzz/checks.rs"]
mod checks;

#[test]
fn every_input_of_the_corpus_passes_its_check() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, check) in checks::CHECKS {
        let mut files: Vec<_> =
            fs::read_dir(corpus.join(name)).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no inputs");
        for file in files {
            let input = fs::read(&file).expect("an input");
            if let Err(panic) = std::panic::catch_unwind(|| check(&input)) {
                eprintln!("the input was {}", file.display());
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn the_corpus_stays_small() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let sizes: Vec<u64> = checks::CHECKS
        .iter()
        .flat_map(|(name, _)| fs::read_dir(corpus.join(name)).expect("a folder"))
        .map(|entry| entry.expect("an entry").metadata().expect("a file").len())
        .collect();
    assert!(sizes.len() <= 240, "{} files", sizes.len());
    assert!(sizes.iter().sum::<u64>() <= 300 * 1024, "{} bytes", sizes.iter().sum::<u64>());
}
