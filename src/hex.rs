//! Pure: bytes as hexadecimal digits.

/// Two lower-case digits for each byte, as `sha256sum` writes them.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
