//! The encoder, behind one function: a block in, a gzip member out.

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor};
use std::sync::{Arc, Mutex, PoisonError};

/// Compressors of one level, kept for reuse: each has tables that are dear to set up.
#[derive(Clone)]
pub struct Gzip {
    level: CompressionLvl,
    idle: Arc<Mutex<Vec<Worker>>>,
}

struct Worker {
    compressor: Compressor,
    output: Vec<u8>,
}

impl std::fmt::Debug for Gzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gzip({:?})", self.level)
    }
}

/// Level of libdeflate for each level of gzip: the fastest that stores no more than gzip does at that level, within
/// two percent. Measured on the mixed database of `make bench`.
const LEVELS: [i32; 10] = [0, 1, 2, 3, 3, 4, 4, 6, 9, 12];

impl Gzip {
    /// An encoder for gzip's `level`, 0 to 9.
    pub fn new(level: u8) -> Self {
        let level = LEVELS[usize::from(level).min(LEVELS.len() - 1)];
        Self { level: CompressionLvl::new(level).unwrap_or_default(), idle: Arc::default() }
    }

    /// Compresses one block into a whole gzip member.
    pub fn member(&self, block: &[u8]) -> Bytes {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = idle().pop();
        let mut worker =
            worker.unwrap_or_else(|| Worker { compressor: Compressor::new(self.level), output: Vec::new() });
        let bound = worker.compressor.gzip_compress_bound(block.len());
        if worker.output.len() < bound {
            worker.output.resize(bound, 0);
        }
        let member = match worker.compressor.gzip_compress(block, &mut worker.output) {
            Ok(length) => Bytes::copy_from_slice(&worker.output[..length]),
            // the output has the size that libdeflate itself names as enough
            Err(error) => unreachable!("gzip_compress_bound was not enough: {error:?}"),
        };
        idle().push(worker);
        member
    }
}
