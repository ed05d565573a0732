//! MIGRATE between servers of both kinds, and against targets whose every byte the test chooses. What it does in a cluster is in
//! `cluster::migrate`.

mod grammar;
mod target;
mod values;
mod waiting;
