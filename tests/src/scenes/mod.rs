//! Releases before the judge, for real: versions that go wrong in ways of their own, under real
//! traffic, each several times over, and what became of them.

mod dead;
mod ending;
mod play;
mod scene;
mod stage;
mod table;
mod trouble;

pub use self::{
    dead::{Dead, at_five_percent},
    ending::{Ending, Run},
    play::{play, play_all},
    scene::{ALL, Scene, named},
    stage::{Stage, Way},
    table::{Row, median, print_dead},
};
