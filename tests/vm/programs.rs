//! Every program of the shipped object, before this kernel's verifier.

use std::time::Instant;

use anyhow::{Context as _, Result};
use aya::{EbpfLoader, programs::Xdp};
use lb_common::maps::{DECAP_PROGRAM, LAPSE, PROGRAM, WHOIS, aside, name};
use lb_userspace::object;

/// What the verifier may walk before it gives up (`BPF_COMPLEXITY_LIMIT_INSNS`).
const LIMIT: u32 = 1_000_000;

#[test]
fn the_verifier_takes_every_program() -> Result<()> {
    let mut loader = EbpfLoader::new();
    for map in name::ALL {
        loader.map_max_entries(map, 1);
    }
    let mut object = loader.load(object::SERIN)?;
    let mut names: Vec<String> = object.programs().map(|(name, _)| name.to_owned()).collect();
    names.sort_unstable();
    let mut known = vec![PROGRAM, WHOIS, LAPSE, DECAP_PROGRAM];
    known.extend(aside::PROGRAMS);
    known.sort_unstable();
    assert_eq!(names, known);

    for name in names {
        let program: &mut Xdp = object
            .program_mut(&name)
            .map(<&mut Xdp>::try_from)
            .context("it is in the list")??;
        let begun = Instant::now();
        program
            .load()
            .with_context(|| format!("{name} is refused"))?;
        let verified = program.info()?.verified_instruction_count();
        let verified = verified.context("every kernel since 5.16 tells")?;
        println!(
            "{name}: {verified} instructions verified, {:?}",
            begun.elapsed()
        );
        assert!((1..LIMIT).contains(&verified), "{name}: {verified}");
    }
    Ok(())
}
