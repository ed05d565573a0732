//! EVAL, SCRIPT, FUNCTION and FCALL.

mod busy;
mod effects;
mod eval;
mod functions;
mod places;
