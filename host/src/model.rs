//! What a model file holds, in types of the host.
