//! Takes DER apart, as far as certificates and keys need it.
//!
//! What comes in are bytes, what goes out are the elements one after the other. Nothing is copied, and
//! nothing outside the bytes is looked at; what is no DER of definite length is refused.

/// The tags in use, universal and context-specific.
pub(super) mod tag {
    pub(in super::super) const BOOLEAN: u8 = 0x01;
    pub(in super::super) const OCTET_STRING: u8 = 0x04;
    pub(in super::super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(in super::super) const SEQUENCE: u8 = 0x30;
    pub(in super::super) const SET: u8 = 0x31;
    pub(in super::super) const EXPLICIT_0: u8 = 0xa0;
    pub(in super::super) const EXPLICIT_3: u8 = 0xa3;
    /// `GeneralName`: `dNSName`.
    pub(in super::super) const DNS_NAME: u8 = 0x82;
    /// `GeneralName`: `iPAddress`.
    pub(in super::super) const IP_ADDRESS: u8 = 0x87;
}

/// The bits of a tag that say that another byte of it follows.
const LONG_TAG: u8 = 0x1f;

/// The bit that says that the other seven are the number of bytes of the length.
const LONG_LENGTH: u8 = 0x80;

/// Elements that follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

/// One element without what is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element; none where the bytes end or are no DER.
    pub(super) fn element(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & LONG_TAG == LONG_TAG {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first & LONG_LENGTH == 0 {
            (usize::from(first), rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & !LONG_LENGTH))?;
            (long_length(bytes)?, rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Element { tag, content })
    }

    /// What is in the next element, which must have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        Some(Self(self.content(tag)?))
    }

    /// The bytes of the next element, which must have this tag.
    pub(super) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element().filter(|element| element.tag == tag).map(|element| element.content)
    }

    /// Goes past the next element if it has this tag.
    pub(super) fn skip_optional(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) {
            self.element()?;
        }
        Some(())
    }
}

fn long_length(bytes: &[u8]) -> Option<usize> {
    if bytes.is_empty() || bytes.len() > size_of::<u32>() {
        return None;
    }
    Some(bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_follow_each_other() {
        let mut reader = Reader::new(&[0x04, 2, 7, 8, 0x06, 0x81, 1, 9]);
        assert_eq!(reader.content(tag::OCTET_STRING), Some(&[7, 8][..]));
        assert_eq!(reader.element(), Some(Element { tag: tag::OBJECT_IDENTIFIER, content: &[9] }));
        assert!(reader.is_empty());
        assert_eq!(reader.element(), None);
    }

    #[test]
    fn what_is_no_der_is_refused() {
        for bytes in [
            &[][..],
            &[0x04],
            &[0x04, 1],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x82, 1],
            &[0x04, 0x85, 0, 0, 0, 0, 1, 7],
            &[0x04, 0x84, 0xff, 0xff, 0xff, 0xff, 7],
            &[0x1f, 0x81, 1, 7],
        ] {
            assert_eq!(Reader::new(bytes).element(), None, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            let mut read = 0;
            while let Some(element) = reader.element() {
                read += element.content.len() + 2;
            }
            prop_assert!(read <= bytes.len());
        }
    }
}
