//! One rolling 64-bit hash per peer over everything that it was told and wanted done, its births
//! and its deaths, and when.
//!
//! The fold reads values through serde's data model, field by field, so that what the boundary gains
//! is in the digest at once; it sees no `usize`, no address and no float, and is the same on every
//! platform.

use std::fmt;

use peerless_core::{Effect, Input, Message};
use serde::ser::{self, Serialize};

use crate::peer::Index;
use crate::scenario::Silence;

/// A hash that values are folded into.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Fold(u64);

impl Fold {
    /// The start of a fold that nothing entered yet.
    pub const EMPTY: Self = Self(0x5045_4552_4C45_5353);

    /// Folds a word in.
    #[inline]
    pub fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 29);
    }

    /// Folds any value in.
    #[inline]
    pub fn value(&mut self, value: &impl Serialize) {
        // The only error is a float or a sequence of unknown length; the boundary has neither.
        value.serialize(self).expect("the boundary has neither floats nor streams");
    }

    /// The fold of one value alone.
    pub fn of(value: &impl Serialize) -> u64 {
        let mut fold = Self::EMPTY;
        fold.value(value);
        fold.0
    }

    /// The sum of a message, under which it is sent.
    pub fn message(message: &Message<Index>) -> u64 {
        Self::of(message)
    }

    /// The hash so far.
    pub fn sum(self) -> u64 {
        self.0
    }

    /// Folds an input in. A message was folded when it was sent: `sent` is its sum.
    #[inline]
    pub fn input(&mut self, time: u64, input: &Input<Index>, sent: u64) {
        self.word(time);
        if let Input::Heard { from, .. } = input {
            self.word(HEARD ^ u64::from(from.0));
            self.word(sent);
        } else {
            self.value(input);
        }
    }

    /// Folds in that the peer starts, for the how manieth time after its first.
    pub fn birth(&mut self, time: u64, incarnation: u32) {
        self.word(time);
        self.word(BIRTH ^ u64::from(incarnation));
    }

    /// Folds in that the peer is gone, and what others see of it.
    pub fn death(&mut self, time: u64, silence: Silence) {
        self.word(time);
        self.word(DEATH ^ u64::from(silence == Silence::Process));
    }

    /// Folds an effect in; the sum of the message that it sends, if it sends one.
    #[inline]
    pub fn effect(&mut self, effect: &Effect<Index>) -> u64 {
        if let Effect::Send { to, message } = effect {
            let sum = Self::message(message);
            self.word(SEND ^ u64::from(to.0));
            self.word(sum);
            return sum;
        }
        self.value(effect);
        0
    }
}

const BIRTH: u64 = 0x4249_5254_0000_0000;
const DEATH: u64 = 0x4445_4154_0000_0000;
const HEARD: u64 = 0x4845_4152_0000_0000;
const SEND: u64 = 0x5345_4E44_0000_0000;

/// The digest of a world: the peers' hashes in their order.
pub fn combine(peers: impl IntoIterator<Item = Fold>) -> u64 {
    let mut whole = Fold::EMPTY;
    for peer in peers {
        whole.word(peer.sum());
    }
    whole.sum()
}

/// What a fold can't take.
#[derive(Debug)]
pub struct Unfoldable(String);

impl fmt::Display for Unfoldable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot be folded: {}", self.0)
    }
}

impl std::error::Error for Unfoldable {}

impl ser::Error for Unfoldable {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Folded = Result<(), Unfoldable>;

macro_rules! words {
    ($($method:ident: $type:ty),*) => {
        $(#[inline]
        fn $method(self, value: $type) -> Folded {
            self.word(u64::from(value));
            Ok(())
        })*
    };
}

macro_rules! signed {
    ($($method:ident: $type:ty),*) => {
        $(#[inline]
        fn $method(self, value: $type) -> Folded {
            self.word(i64::from(value).cast_unsigned());
            Ok(())
        })*
    };
}

impl ser::Serializer for &mut Fold {
    type Ok = ();
    type Error = Unfoldable;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    words!(serialize_bool: bool, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
           serialize_u64: u64, serialize_char: char);
    signed!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);

    fn serialize_f32(self, _: f32) -> Folded {
        Err(ser::Error::custom("a float"))
    }
    fn serialize_f64(self, _: f64) -> Folded {
        Err(ser::Error::custom("a float"))
    }
    fn serialize_str(self, value: &str) -> Folded {
        self.serialize_bytes(value.as_bytes())
    }
    fn serialize_bytes(self, value: &[u8]) -> Folded {
        self.word(value.len() as u64);
        let (words, rest) = value.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
        Ok(())
    }
    #[inline]
    fn serialize_none(self) -> Folded {
        self.word(0);
        Ok(())
    }
    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Folded {
        self.word(1);
        value.serialize(self)
    }
    fn serialize_unit(self) -> Folded {
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Folded {
        Ok(())
    }
    #[inline]
    fn serialize_unit_variant(self, _: &'static str, variant: u32, _: &'static str) -> Folded {
        self.word(u64::from(variant));
        Ok(())
    }
    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Folded {
        value.serialize(self)
    }
    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        value: &T,
    ) -> Folded {
        self.word(u64::from(variant));
        value.serialize(self)
    }
    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self, Unfoldable> {
        let len = len.ok_or_else(|| <Unfoldable as ser::Error>::custom("unknown length"))?;
        self.word(len as u64);
        Ok(self)
    }
    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, Unfoldable> {
        Ok(self)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Unfoldable> {
        Ok(self)
    }
    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Unfoldable> {
        self.word(u64::from(variant));
        Ok(self)
    }
    fn serialize_map(self, len: Option<usize>) -> Result<Self, Unfoldable> {
        self.serialize_seq(len)
    }
    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Unfoldable> {
        Ok(self)
    }
    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Unfoldable> {
        self.word(u64::from(variant));
        Ok(self)
    }
    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! parts {
    ($($trait:ident, $method:ident);*) => {
        $(impl ser::$trait for &mut Fold {
            type Ok = ();
            type Error = Unfoldable;
            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Folded {
                value.serialize(&mut **self)
            }
            #[inline]
            fn end(self) -> Folded {
                Ok(())
            }
        })*
    };
}

macro_rules! fields {
    ($($trait:ident),*) => {
        $(impl ser::$trait for &mut Fold {
            type Ok = ();
            type Error = Unfoldable;
            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Folded {
                value.serialize(&mut **self)
            }
            #[inline]
            fn end(self) -> Folded {
                Ok(())
            }
        })*
    };
}

parts!(SerializeSeq, serialize_element; SerializeTuple, serialize_element;
       SerializeTupleStruct, serialize_field; SerializeTupleVariant, serialize_field);
fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for &mut Fold {
    type Ok = ();
    type Error = Unfoldable;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Folded {
        key.serialize(&mut **self)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Folded {
        value.serialize(&mut **self)
    }
    fn end(self) -> Folded {
        Ok(())
    }
}
