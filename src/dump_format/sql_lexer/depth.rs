//! Pure: whether a `;` ends a statement.

/// How deep in parentheses and in bodies of SQL functions the text is: a `;` there ends no statement.
#[derive(Debug, Default)]
pub(super) struct Depth {
    pub(super) parentheses: usize,
    bodies: usize,
    words: usize,
    /// First letters of the first words, each at its place, where they are among those that may make a function.
    opening: [u8; 4],
    /// The word before was `begin`, with nothing but space between.
    pub(super) may_begin: bool,
}

impl Depth {
    pub(super) fn word(&mut self, word: &[u8]) {
        if let Some(place) = self.opening.get_mut(self.words)
            && matches!(word, b"create" | b"or" | b"replace" | b"function" | b"procedure")
        {
            *place = word[0];
        }
        self.words += 1;
        if !matches!(self.opening, [b'c', b'f' | b'p', ..] | [b'c', b'o', b'r', b'f' | b'p']) || self.parentheses > 0 {
            return;
        }
        // both are names elsewhere; the two together are not
        let may_begin = std::mem::replace(&mut self.may_begin, word == b"begin");
        match word {
            b"atomic" if may_begin => self.bodies += 1,
            b"case" if self.bodies > 0 => self.bodies += 1,
            b"end" => self.bodies = self.bodies.saturating_sub(1),
            _ => {}
        }
    }

    pub(super) fn is_outside(&self) -> bool {
        self.parentheses == 0 && self.bodies == 0
    }
}
