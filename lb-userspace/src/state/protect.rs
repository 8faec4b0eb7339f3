//! The protection's settings: what the configuration comes to in the maps.

use lb_common::protect::Protect;

use super::{StateError, ids::Ids};
use crate::{
    config,
    dataplane::{
        Image,
        prefixes::{Block, compile},
    },
};

/// The settings, and the deny list that they name.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The settings.
    pub settings: Protect,
    /// The deny list's block.
    pub block: Block,
}

impl Kept {
    /// The configured settings; those before, where they say the same.
    pub(super) fn next(
        before: Option<&Self>,
        configured: &config::Protect,
        ids: &mut Ids,
    ) -> Result<Self, StateError> {
        const DENIED: u32 = 1;
        let (denied, block) = compile(configured.deny.iter().map(|&net| (net, DENIED)));
        let (per_second, burst) = (configured.syn_per_second, configured.syn_burst);
        let settings = Protect::new(denied, per_second, burst);
        let base = match before {
            Some(before) if before.block == block => before.settings.denied().base(),
            _ => ids.space.take(denied.length())?,
        };
        Ok(Self {
            settings: settings.moved(base),
            block,
        })
    }

    /// What the maps hold.
    pub fn of(image: &Image) -> Option<Self> {
        let settings = image.protect?;
        let block = image.block_of(settings.denied())?;
        Some(Self { settings, block })
    }
}
