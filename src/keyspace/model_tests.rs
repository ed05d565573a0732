//! The keyspace against a model.
