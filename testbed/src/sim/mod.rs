//! A simulated world: the verify machines of both sides and the node's own plans, against each
//! other in a virtual network with a virtual clock, under a seed.
//!
//! | file | what |
//! |---|---|
//! | [`network`] | loses, repeats, delays and so reorders datagrams |
//! | [`disk`] | what a node's disk keeps through a power cut, and what its loader does with it |
//! | [`node`] | a machine: the real verify machine and the real plans on a simulated disk |
//! | [`cluster`] | the master and its catalog |
//! | [`orders`] | preparations: what is wished, remembered, told |
//! | [`world`] | puts them together, does harm, watches the invariants |

pub mod cluster;
pub mod disk;
pub mod network;
pub mod node;
pub mod orders;
pub mod world;
