//! The encoder, behind one function: a block in, gzip members out.

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Levels of libdeflate, fast and thorough, for each level of gzip. The reasons and the figures are in
/// `docs/decisions/003-compression.md`.
const LEVELS: [(i32, i32); 10] = [(0, 0), (1, 1), (1, 2), (1, 2), (1, 3), (1, 3), (1, 4), (4, 6), (6, 9), (9, 12)];

/// One block in so many is compressed both ways, to see which way suits the data that flows by.
const SAMPLE_EVERY: usize = 16;

/// The thorough way costs two to three times the processor time; it is taken where it saves this part of the size.
const WORTH_SAVING: f64 = 0.08;

/// An encoder that watches what it encodes; clones share what they learn.
#[derive(Clone)]
pub struct Gzip(Arc<GzipState>);

struct GzipState {
    fast: Pool,
    thorough: Pool,
    blocks: AtomicUsize,
    prefer_thorough: AtomicBool,
}

/// Compressors of one level, kept for reuse: each has tables that are dear to set up.
struct Pool {
    level: CompressionLvl,
    idle: Mutex<Vec<Worker>>,
}

struct Worker {
    compressor: Compressor,
    output: Vec<u8>,
}

impl std::fmt::Debug for Gzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gzip({:?} to {:?})", self.0.fast.level, self.0.thorough.level)
    }
}

impl Gzip {
    /// An encoder for gzip's `level`, 0 to 9.
    pub fn new(level: u8) -> Self {
        let (fast, thorough) = LEVELS[usize::from(level).min(LEVELS.len() - 1)];
        let pool = |level| Pool { level: CompressionLvl::new(level).unwrap_or_default(), idle: Mutex::default() };
        Self(Arc::new(GzipState {
            fast: pool(fast),
            thorough: pool(thorough),
            blocks: AtomicUsize::new(0),
            prefer_thorough: AtomicBool::new(false),
        }))
    }

    /// Compresses a block, cut into pieces at `cuts`, each into a whole gzip member; the answer is all of them one
    /// after the other, and where each cut has come to.
    pub fn members(&self, block: &[u8], cuts: &[usize]) -> (Bytes, Vec<usize>) {
        let shared = &*self.0;
        if shared.fast.level == shared.thorough.level {
            return shared.fast.members(block, cuts);
        }
        if !shared.blocks.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE_EVERY) {
            let thorough = shared.prefer_thorough.load(Ordering::Relaxed);
            return if thorough { &shared.thorough } else { &shared.fast }.members(block, cuts);
        }
        let (fast, thorough) = (shared.fast.members(block, cuts), shared.thorough.members(block, cuts));
        #[allow(clippy::cast_precision_loss)]
        let saved = 1.0 - thorough.0.len() as f64 / fast.0.len() as f64;
        shared.prefer_thorough.store(saved >= WORTH_SAVING, Ordering::Relaxed);
        if thorough.0.len() < fast.0.len() { thorough } else { fast }
    }
}

impl Pool {
    fn members(&self, block: &[u8], cuts: &[usize]) -> (Bytes, Vec<usize>) {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = idle().pop();
        let mut worker =
            worker.unwrap_or_else(|| Worker { compressor: Compressor::new(self.level), output: Vec::new() });
        let (mut begin, mut length, mut ends) = (0, 0, Vec::with_capacity(cuts.len()));
        for end in cuts.iter().copied().chain([block.len()]) {
            if begin < end {
                length += worker.member(&block[begin..end], length);
            }
            begin = end;
            ends.push(length);
        }
        // the last one is the end of the block and no cut
        ends.pop();
        let members = Bytes::copy_from_slice(&worker.output[..length]);
        idle().push(worker);
        (members, ends)
    }
}

impl Worker {
    /// Compresses a piece behind what the output holds already, and says how long it has become.
    fn member(&mut self, piece: &[u8], at: usize) -> usize {
        let bound = at + self.compressor.gzip_compress_bound(piece.len());
        if self.output.len() < bound {
            self.output.resize(bound, 0);
        }
        match self.compressor.gzip_compress(piece, &mut self.output[at..]) {
            Ok(length) => length,
            // the output has the size that libdeflate itself names as enough
            Err(error) => unreachable!("gzip_compress_bound was not enough: {error:?}"),
        }
    }
}
