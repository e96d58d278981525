//! The live view: what every machine is doing, as it happens. A pure model takes events
//! and gives text; [`View`] puts the text on a terminal, or line by line elsewhere.

mod board;
mod text;
mod view;

pub use board::{Board, Event, EventKind, Stage};
pub use view::View;
