//! The bpf(2) calls that aya does not have, on maps that it has opened (its issue 1124).

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use bytemuck::{Pod, Zeroable};
use lb_common::{
    maps::{MAX_WORDS, name},
    prefix::Prefixes,
};

use super::{Block, KernelError, syscall::bpf};

/// Elements of an array that one call brings.
const BATCH: u32 = 4096;
/// Entries of a hash map that one call brings: a millisecond's work, since orders wait for as long.
const SLICE: u32 = 1024;

const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

/// `union bpf_attr`, the member for batches (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct BatchCall {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: i32,
    elem_flags: u64,
    flags: u64,
}

/// Shows a slice of a hash map's entries to `each`, from where the one before has ended; tells where
/// this one has, or nothing if it was the last. Entries that come or go meanwhile may be missed.
pub fn some<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    name: &'static str,
    from: Option<u32>,
    each: &mut dyn FnMut(K, V),
) -> Result<Option<u32>, KernelError> {
    let mut keys = vec![K::zeroed(); SLICE as usize];
    let mut values = vec![V::zeroed(); SLICE as usize];
    // For hash maps the number of a bucket.
    let before = from.unwrap_or_default();
    let mut position = 0_u32;
    let mut call = BatchCall {
        in_batch: from.map_or(0, |_| &raw const before as u64),
        out_batch: &raw mut position as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: SLICE,
        map_fd: map.as_raw_fd(),
        ..BatchCall::zeroed()
    };
    // SAFETY: the addresses are of live buffers, each with room for `count` entries of the map's
    // own sizes, and the positions are the 4 bytes that hash maps use.
    let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut call) };
    let last = match result {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(source) => return Err(KernelError::System { what: name, source }),
    };
    let found = keys.iter().zip(&values).take(call.count as usize);
    found.for_each(|(&key, &value)| each(key, value));
    Ok((!last).then_some(position))
}

/// Writes neighbouring elements of an array, from `first` on.
pub fn write_words(
    map: BorrowedFd<'_>,
    name: &'static str,
    first: u32,
    words: &[u64],
) -> Result<(), KernelError> {
    let mut at = first;
    for words in words.chunks(BATCH as usize) {
        let count = u32::try_from(words.len()).unwrap_or(BATCH);
        let keys: Vec<u32> = (at..at + count).collect();
        let mut call = BatchCall {
            keys: keys.as_ptr() as u64,
            values: words.as_ptr() as u64,
            count,
            map_fd: map.as_raw_fd(),
            ..BatchCall::zeroed()
        };
        // SAFETY: both buffers are live and hold `count` entries of the map's own sizes; the call
        // only reads them.
        let result = unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut call) };
        result.map_err(|source| KernelError::System { what: name, source })?;
        at += count;
    }
    Ok(())
}

/// Writes elements of an array of 4 bytes each.
pub fn write_all(
    map: BorrowedFd<'_>,
    name: &'static str,
    keys: &[u32],
    values: &[u32],
) -> Result<(), KernelError> {
    let count = keys.len().min(values.len());
    let mut call = BatchCall {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(count).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd(),
        ..BatchCall::zeroed()
    };
    // SAFETY: both buffers are live and hold at least `count` entries of 4 bytes; the call only
    // reads them.
    let result = unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut call) };
    result.map_err(|source| KernelError::System { what: name, source })?;
    Ok(())
}

/// Reads the block that prefixes are in, unless it is there already or they lie outside of the map.
pub fn read_block(
    map: BorrowedFd<'_>,
    prefixes: &Prefixes,
    blocks: &mut BTreeMap<u32, Block>,
) -> Result<(), KernelError> {
    let (base, length) = (prefixes.base(), prefixes.length());
    let fits = base.checked_add(length).is_some_and(|end| end <= MAX_WORDS);
    if length == 0 || !fits || blocks.contains_key(&base) {
        return Ok(());
    }
    let words = elements(map, name::PREFIXES, base, length)?;
    blocks.insert(base, Block::new(words));
    Ok(())
}

/// Reads `length` neighbouring elements of an array, from `first` on.
pub fn elements<T: Pod>(
    map: BorrowedFd<'_>,
    name: &'static str,
    first: u32,
    length: u32,
) -> Result<Vec<T>, KernelError> {
    let mut elements = vec![T::zeroed(); length as usize];
    let mut keys = vec![0_u32; BATCH as usize];
    let mut at = first;
    for elements in elements.chunks_mut(BATCH as usize) {
        let count = u32::try_from(elements.len()).unwrap_or(BATCH);
        // The kernel goes on behind this key.
        let before = at.wrapping_sub(1);
        let mut position = 0_u32;
        let mut call = BatchCall {
            in_batch: if at == 0 { 0 } else { &raw const before as u64 },
            out_batch: &raw mut position as u64,
            keys: keys.as_mut_ptr() as u64,
            values: elements.as_mut_ptr() as u64,
            count,
            map_fd: map.as_raw_fd(),
            ..BatchCall::zeroed()
        };
        // SAFETY: both buffers are live with room for `count` entries of the map's own sizes, and
        // the positions are the 4 bytes that arrays use.
        let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut call) };
        match result {
            // The end of the array comes with the last elements.
            Err(source) if source.raw_os_error() != Some(libc::ENOENT) => {
                return Err(KernelError::System { what: name, source });
            }
            _ => {}
        }
        at += count;
    }
    Ok(elements)
}
