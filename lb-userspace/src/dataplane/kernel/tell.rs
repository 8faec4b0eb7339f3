//! The telling program: `serin whois` asks the program's own code on the program's own maps.

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use bytemuck::Zeroable as _;
use lb_common::{
    maps::{WHOIS, name},
    trace::Trace,
};

use super::{
    KernelError,
    maps::{self, Raw},
};

/// The program's answers; one question at a time.
pub struct Teller(Array<MapData, Raw<Trace>>);

impl Teller {
    /// Loads the program; nothing if the object has none, as the benchmark's.
    pub fn load(object: &mut Ebpf) -> Result<Option<Self>, KernelError> {
        if object.program(WHOIS).is_none() {
            return Ok(None);
        }
        let teller = Self(maps::typed(object, name::TRACE)?);
        maps::load(maps::program(object, WHOIS)?)?;
        Ok(Some(teller))
    }

    /// What would become of a frame.
    pub fn ask(&mut self, object: &mut Ebpf, frame: &[u8]) -> Result<Trace, KernelError> {
        let clear = self.0.set(0, Raw(Trace::zeroed()), 0);
        clear.map_err(KernelError::map(name::TRACE))?;
        maps::test_run(maps::program(object, WHOIS)?, frame)?;
        let trace = self.0.get(&0, 0).map_err(KernelError::map(name::TRACE))?;
        Ok(trace.0)
    }
}
