//! `BPF_PROG_TEST_RUN` with another interface than `lo` to come in by.

use aya::{
    Ebpf,
    programs::{Program, TestRun as _, TestRunOptions},
};

/// `struct xdp_md` of include/uapi/linux/bpf.h: data, its end, metadata, interface, queue, egress.
fn context(ifindex: u32, frame: &[u8]) -> Vec<u8> {
    let end = u32::try_from(frame.len()).expect("test frames are small");
    [0, end, 0, ifindex, 0, 0]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect()
}

/// The program's answer, and the frame that it left.
pub fn run(object: &mut Ebpf, program: &str, ifindex: u32, frame: &[u8]) -> (u32, Vec<u8>) {
    let Some(Program::Xdp(program)) = object.program_mut(program) else {
        panic!("the object has no program {program}");
    };
    let mut out = vec![0; frame.len()];
    let context = context(ifindex, frame);
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let result = program
        .test_run(options)
        .expect("the kernel runs the program");
    (result.return_value, out)
}
