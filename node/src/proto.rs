//! Protocol Buffers, as much as our messages need: varints and length-delimited fields.
//!
//! Writing omits zeros and empties, as proto3 does. Reading hands out one field after another, so
//! a caller skips what it does not know; nothing is allocated before its length was checked against
//! the bytes that are there.

/// Bytes that are no message of the expected form; the peer's fault.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// A message being written.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Fields that were written elsewhere.
    pub(crate) fn append(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    /// A number; nothing for 0.
    pub(crate) fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
    }

    /// Bytes, even if there are none: a repeated field counts its empties.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message within the message.
    pub(crate) fn message(&mut self, field: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field's value.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Uint(u64),
    Bytes(&'a [u8]),
    /// A fixed-width number; none of our fields is one.
    Fixed,
}

impl<'a> Value<'a> {
    pub(crate) fn uint(self) -> Result<u64, Malformed> {
        match self {
            Self::Uint(value) => Ok(value),
            Self::Bytes(_) | Self::Fixed => {
                Err(Malformed("a field is not the number it should be"))
            }
        }
    }

    pub(crate) fn u16(self) -> Result<u16, Malformed> {
        u16::try_from(self.uint()?).map_err(|_| Malformed("a number is out of range"))
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Uint(_) | Self::Fixed => Err(Malformed("a field is not the bytes it should be")),
        }
    }

    pub(crate) fn bytes32(self) -> Result<[u8; 32], Malformed> {
        let bytes = self.bytes()?;
        bytes.try_into().map_err(|_| Malformed("a field has not 32 bytes"))
    }

    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(crate) fn message(self) -> Result<Reader<'a>, Malformed> {
        Ok(Reader(self.bytes()?))
    }
}

/// A message being read.
#[derive(Copy, Clone)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next field's number and value; `None` at the end.
    pub(crate) fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let head = self.varint()?;
        let field =
            u32::try_from(head >> 3).map_err(|_| Malformed("a field's number is too high"))?;
        let value = match head & 7 {
            0 => Value::Uint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).map_err(|_| Malformed("a length is too high"))?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed("a field is of no known type")),
        };
        if field == 0 {
            return Err(Malformed("a field has the number 0"));
        }
        Ok(Some((field, value)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed("it breaks off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a number has more than 64 bits"))
    }
}

/// Puts a value where there was none: a field that may come once came twice otherwise.
pub(crate) fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed("a field came twice")),
    }
}

/// Appends to a list that has a limit.
pub(crate) fn push<T>(list: &mut Vec<T>, max: usize, value: T) -> Result<(), Malformed> {
    if list.len() == max {
        return Err(Malformed("a list is too long"));
    }
    list.push(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_are_read_back(number: u64, bytes: Vec<u8>, field in 1_u32..=0x1fff_ffff) {
            let mut writer = Writer::default();
            writer.uint(field, number);
            writer.message(7, |inner| inner.bytes(field, &bytes));
            let written = writer.finish();
            let mut reader = Reader(&written);
            if number != 0 {
                prop_assert_eq!(reader.field().unwrap(), Some((field, Value::Uint(number))));
            }
            let (seven, inner) = reader.field().unwrap().unwrap();
            prop_assert_eq!(seven, 7);
            let inner = inner.message().unwrap().field().unwrap();
            prop_assert_eq!(inner, Some((field, Value::Bytes(&bytes))));
            prop_assert_eq!(reader.field().unwrap(), None);
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>) {
            let mut reader = Reader(&bytes);
            while let Ok(Some(_)) = reader.field() {}
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(Reader(&[0x08; 1]).field().is_err());
        assert!(
            Reader(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])
                .field()
                .is_err()
        );
        let max = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Reader(&max).field(), Ok(Some((1, Value::Uint(u64::MAX)))));
        assert!(Reader(&[0x0a, 0x05, 1]).field().is_err());
    }
}
