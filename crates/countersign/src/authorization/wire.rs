//! As much of the protobuf wire format as descriptor sets need.
//!
//! Ours and not a code generator's, since of what stands in an annotation nothing may be skipped:
//! a field that we do not know may be the one that keeps somebody out.

/// A message's bytes, read field by field.
pub(super) struct Message<'a> {
    rest: &'a [u8],
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a fixed width; nothing of ours has it.
    Fixed,
}

/// The bytes are no protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Message<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field and its number; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed)?,
            // Groups are of proto2 and in no descriptor.
            _ => return Err(Malformed),
        };
        match key >> 3 {
            0 => Err(Malformed),
            number => Ok(Some((number, field))),
        }
    }

    /// Hands over every field of bytes whose number is wanted.
    pub(super) fn each(
        bytes: &'a [u8],
        mut look: impl FnMut(u32, &'a [u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut message = Self::new(bytes);
        while let Some((number, field)) = message.next()? {
            if let Field::Bytes(bytes) = field {
                look(number, bytes)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// At most ten bytes, seven bits in each.
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_one_by_one() {
        let mut message = Message::new(&[8, 0xac, 2, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4]);
        assert_eq!(message.next(), Ok(Some((1, Field::Varint(300)))));
        assert_eq!(message.next(), Ok(Some((2, Field::Bytes(b"hi")))));
        assert_eq!(message.next(), Ok(Some((3, Field::Fixed))));
        assert_eq!(message.next(), Ok(None));
    }

    #[test]
    fn what_is_cut_off_or_too_large_is_no_message() {
        for bytes in [
            &[8][..],                                                // no value
            &[0x12, 2, b'h'],                                        // too short
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], // longer than any
            &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0, 1],    // number 0
            &[0x0b, 0], // a group
            &[0x09, 1], // eight bytes of which one is there
        ] {
            assert_eq!(Message::new(bytes).next(), Err(Malformed), "{bytes:?}");
        }
    }
}
