//! How deep the programs' stacks are, reckoned from the object as Linux 6.1's verifier does: later
//! ones allow more, so that a program which loads here might be refused there.

use std::collections::{BTreeMap, BTreeSet};

use aya_obj::{Object, generated::bpf_insn};
use lb_common::{
    bench,
    maps::{DECAP_PROGRAM, LAPSE, PROGRAM, WHOIS, aside},
};
use lb_userspace::object;

/// `MAX_BPF_STACK`: bytes of all functions that are under way at one time.
const LIMIT: u32 = 512;
/// Each function takes a multiple of this (`check_max_stack_depth` in kernel/bpf/verifier.c).
const STEP: u32 = 32;

const FRAME_POINTER: u8 = 10;
/// A call, of another function of the program where `src` is [`PSEUDO_CALL`].
const CALL: u8 = 0x85;
const PSEUDO_CALL: u8 = 1;
/// 64 bits: to move a register, and to add a number to one.
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
/// The classes that reach memory: by `src` to load, by `dst` to store.
const LOAD: u8 = 1;
const STORES: [u8; 2] = [2, 3];

#[test]
fn no_program_needs_more_stack_than_linux_6_1_gives() {
    let main = [PROGRAM, WHOIS, LAPSE, DECAP_PROGRAM];
    let main = main.into_iter().chain(aside::PROGRAMS);
    let measured = [bench::program::SERIN, bench::program::SERIN_OUTER];
    for (embedded, names) in [
        (object::SERIN, main.collect::<BTreeSet<_>>()),
        (object::BENCH, measured.into()),
    ] {
        let programs = programs(embedded);
        for name in names {
            let bytes = depth(&programs[name], 0);
            println!("{name}: {bytes} bytes of stack");
            assert!((STEP..=LIMIT).contains(&bytes), "{name}: {bytes} bytes");
        }
    }
}

#[test]
fn calls_add_up_and_are_rounded() {
    let store = |off| instruction(STORES[1] | 0x78, (FRAME_POINTER, 1), off, 0);
    let exit = instruction(0x95, (0, 0), 0, 0);
    let call = |to| instruction(CALL, (0, PSEUDO_CALL), 0, to);
    // A function of 40 bytes, then one of 8 that it calls, then one of none that nobody calls.
    let program = [call(2), store(-40), exit, store(-8), exit, exit];
    assert_eq!(depth(&program, 0), 64 + 32);
    // By a pointer to the stack.
    let pointer = [
        instruction(MOVE, (2, FRAME_POINTER), 0, 0),
        instruction(ADD, (2, 0), 0, -100),
        exit,
    ];
    assert_eq!(depth(&pointer, 0), 128);
}

/// The instructions of each program, those that it calls behind it.
fn programs(object: &[u8]) -> BTreeMap<String, Vec<bpf_insn>> {
    let mut object = Object::parse(object).expect("an object");
    let sections = object.functions.keys().map(|&(section, _)| section);
    object
        .relocate_calls(&sections.collect())
        .expect("all calls are of functions");
    let programs = object.programs.iter();
    let programs = programs.map(|(name, program)| {
        let function = &object.functions[&program.function_key()];
        (name.clone(), function.instructions.clone())
    });
    programs.collect()
}

/// Bytes that the function which starts at `entry` takes, with the deepest that it calls.
fn depth(program: &[bpf_insn], entry: usize) -> u32 {
    let body = body(program, entry);
    let own = (entry..body).map(|at| reached(program, at)).max();
    let own = own.unwrap_or(0).max(1).next_multiple_of(STEP);
    let called = (entry..body).filter_map(|at| callee(program, at));
    own + called.map(|at| depth(program, at)).max().unwrap_or(0)
}

/// Where the function that starts at `entry` ends: at the next one's start.
fn body(program: &[bpf_insn], entry: usize) -> usize {
    let starts = (0..program.len()).filter_map(|at| callee(program, at));
    let next = starts.filter(|&start| start > entry).min();
    next.unwrap_or(program.len())
}

/// The function that the instruction at `at` calls.
fn callee(program: &[bpf_insn], at: usize) -> Option<usize> {
    let call = &program[at];
    let calls = call.code == CALL && call.src_reg() == PSEUDO_CALL;
    calls.then(|| (at + 1).checked_add_signed(call.imm as isize))?
}

/// How far below the frame pointer the instruction reaches.
fn reached(program: &[bpf_insn], at: usize) -> u32 {
    let this = &program[at];
    let class = this.code & 7;
    let base = match class {
        LOAD => this.src_reg(),
        _ => this.dst_reg(),
    };
    if (class == LOAD || STORES.contains(&class)) && base == FRAME_POINTER {
        return below(this.off.into());
    }
    let is_pointer = |before: &bpf_insn| {
        (before.code, before.src_reg()) == (MOVE, FRAME_POINTER)
            && before.dst_reg() == this.dst_reg()
    };
    if this.code == ADD && program[..at].iter().rev().take(16).any(is_pointer) {
        return below(this.imm);
    }
    0
}

fn below(offset: i32) -> u32 {
    let bytes = offset.checked_neg().map(u32::try_from);
    bytes
        .and_then(Result::ok)
        .filter(|&bytes| bytes <= LIMIT)
        .unwrap_or(0)
}

fn instruction(code: u8, (dst, src): (u8, u8), off: i16, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(dst, src),
        off,
        imm,
    }
}
