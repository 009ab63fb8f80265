//! age keys, and bytes encrypted to them. The format is age's own, version 1, so that `age -d` reads what is written here.

use age::stream::StreamWriter;
use age::{DecryptError, x25519};
use bytes::Bytes;
use std::io::{self, Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncRead;
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

/// The method's name in manifests.
pub const METHOD: &str = "age";

/// Why a key cannot be used, or does not open something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A line is no public key.
    #[error("`{0}` is not an age public key; one begins with `age1`, as `age-keygen -y` prints it")]
    Recipient(String),
    /// A line is no private key; it is not shown.
    #[error("line {0} is not an age private key; one begins with `AGE-SECRET-KEY-1`, as `age-keygen` writes it")]
    Identity(usize),
    /// A private key that is itself encrypted.
    #[error("it is encrypted with a passphrase, which nobody can type during a run; provide it decrypted")]
    Passphrase,
    /// Neither keys nor anything else.
    #[error("it holds no key")]
    Empty,
    /// Encrypted, and there is no private key.
    #[error("it is encrypted with age, and there is no private key to read it")]
    Missing,
    /// Encrypted to other keys.
    #[error("it is encrypted with age, and none of the private keys decrypts it")]
    Wrong,
    /// No age file, or a damaged one.
    #[error("its age encryption is damaged or incomplete: {0}")]
    Damaged(String),
}

/// Public keys: who may read what is written.
#[derive(Clone)]
pub struct Recipients(Vec<x25519::Recipient>);

impl std::fmt::Debug for Recipients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(x25519::Recipient::to_string)).finish()
    }
}

impl Recipients {
    /// Keys between commas, spaces or ends of lines; lines that begin with `#` are comments.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let words = lines.flat_map(|line| line.split([',', ' ', '\t'])).filter(|word| !word.is_empty());
        let keys = words.map(|word| match word.parse() {
            Ok(key) => Ok(key),
            // a private key in the wrong place is not shown either
            Err(_) if word.to_ascii_uppercase().starts_with("AGE-SECRET-KEY") => {
                Err(KeyError::Recipient("AGE-SECRET-KEY-…".to_owned()))
            }
            Err(_) => Err(KeyError::Recipient(word.chars().take(80).collect())),
        });
        let keys: Vec<x25519::Recipient> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self(keys)) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Begins a file that they all may read.
    pub fn encryptor(&self) -> io::Result<Encryptor> {
        let recipients = self.0.iter().map(|key| key as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
        let output = SharedOutput::default();
        Ok(Encryptor { writer: encryptor.wrap_output(output.clone())?, output })
    }

    /// A whole small file.
    pub fn encrypt(&self, bytes: &[u8]) -> io::Result<Bytes> {
        let mut encryptor = self.encryptor()?;
        let first = encryptor.take(bytes)?;
        Ok([first, encryptor.finish()?].concat().into())
    }
}

/// Encrypts a file piece by piece.
pub struct Encryptor {
    writer: StreamWriter<SharedOutput>,
    output: SharedOutput,
}

#[derive(Clone, Default)]
struct SharedOutput(Arc<Mutex<Vec<u8>>>);

impl SharedOutput {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encryptor {
    /// What can be stored after these bytes; nothing while age's chunk of 64 KiB is not full.
    pub fn take(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        self.writer.write_all(bytes)?;
        Ok(self.output.take())
    }

    /// The rest: a file without it is cut.
    pub fn finish(self) -> io::Result<Bytes> {
        self.writer.finish()?;
        Ok(self.output.take())
    }
}

/// Private keys: what may be read.
#[derive(Clone)]
pub struct Identities(Vec<x25519::Identity>);

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

impl Identities {
    /// What `age-keygen` writes: a key on each line, and comments.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE") {
            return Err(KeyError::Passphrase);
        }
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|(at, line)| line.parse().map_err(|_| KeyError::Identity(at + 1)));
        let keys: Vec<x25519::Identity> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self(keys)) }
    }

    /// True when one of the keys opens what is encrypted to `recipients`.
    pub fn open_some_of(&self, recipients: &Recipients) -> bool {
        self.0.iter().any(|identity| recipients.0.contains(&identity.to_public()))
    }

    /// The same for a file in which only some places are read: those fail where they were changed or cut.
    pub fn decrypt_parts<R: Read + Seek>(&self, input: R) -> Result<impl Read + Seek + use<R>, KeyError> {
        let damaged = |error: &DecryptError| KeyError::Damaged(error.to_string());
        let decryptor = age::Decryptor::new(input).map_err(|error| damaged(&error))?;
        match decryptor.decrypt(self.0.iter().map(|identity| identity as &dyn age::Identity)) {
            Ok(reader) => Ok(reader),
            Err(DecryptError::NoMatchingKeys) => Err(KeyError::Wrong),
            Err(error) => Err(damaged(&error)),
        }
    }

    /// Reads the header; what follows fails where it was changed or cut.
    pub async fn decrypt<R: AsyncRead + Unpin>(&self, input: R) -> Result<impl AsyncRead + use<R>, KeyError> {
        let damaged = |error: &DecryptError| KeyError::Damaged(error.to_string());
        let decryptor = age::Decryptor::new_async(input.compat()).await.map_err(|error| damaged(&error))?;
        let identities = self.0.iter().map(|identity| identity as &dyn age::Identity);
        match decryptor.decrypt_async(identities) {
            Ok(reader) => Ok(reader.compat()),
            Err(DecryptError::NoMatchingKeys) => Err(KeyError::Wrong),
            Err(error) => Err(damaged(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    const SECRET: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

    fn keys() -> (Recipients, Identities) {
        let identity = x25519::Identity::generate();
        (Recipients(vec![identity.to_public()]), Identities(vec![identity]))
    }

    async fn decrypt(identities: &Identities, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut reader = identities.decrypt(bytes).await.map_err(|error| error.to_string())?;
        let mut plain = Vec::new();
        reader.read_to_end(&mut plain).await.map_err(|error| error.to_string())?;
        Ok(plain)
    }

    #[tokio::test]
    async fn what_is_encrypted_comes_back_for_the_right_key_alone() {
        let (recipients, identities) = keys();
        for size in [0, 1, 65_535, 65_536, 65_537, 300_000] {
            let plain = vec![7_u8; size];
            let encrypted = recipients.encrypt(&plain).unwrap();
            assert_eq!(decrypt(&identities, &encrypted).await.unwrap(), plain);
            let cut = decrypt(&identities, &encrypted[..encrypted.len() - 1]).await;
            assert!(cut.is_err(), "{size} bytes, the last one lost");
            let mut changed = encrypted.to_vec();
            *changed.last_mut().unwrap() ^= 1;
            assert!(decrypt(&identities, &changed).await.is_err(), "{size} bytes, the last one changed");
        }
        let encrypted = recipients.encrypt(b"x").unwrap();
        assert_eq!(decrypt(&keys().1, &encrypted).await.unwrap_err(), KeyError::Wrong.to_string());
        assert!(identities.open_some_of(&recipients) && !keys().1.open_some_of(&recipients));
    }

    #[test]
    fn keys_are_read_in_every_form_and_what_is_none_is_named_without_secrets() {
        let key = Identities::parse(SECRET).unwrap().0[0].to_public().to_string();
        for text in [format!("{key},{key}"), format!("# mine\n{key}\n\n{key} "), format!("{key} {key}")] {
            assert_eq!(Recipients::parse(&text).unwrap().0.len(), 2, "{text}");
        }
        assert_eq!(Recipients::parse("# nothing\n").unwrap_err(), KeyError::Empty);
        let shown = Recipients::parse(SECRET).unwrap_err().to_string();
        assert!(!shown.contains("1GFPY"), "{shown}");
        assert_eq!(Identities::parse(&format!("# made\n\n{key}")).unwrap_err(), KeyError::Identity(3));
        assert_eq!(Identities::parse("age-encryption.org/v1\n").unwrap_err(), KeyError::Passphrase);
        assert_eq!(format!("{:?}", Identities::parse(SECRET).unwrap()), "Identities(1)");
    }
}
