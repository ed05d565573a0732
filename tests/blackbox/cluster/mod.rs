//! Nodes that know others.

mod commands;
mod known;
mod routing;
