//! Serialized values in place: where each begins and ends, which are arrays, and which are one and the same.
//!
//! `merge` calls it. Unlike `decode` it takes everything that PHP writes, objects, references and any depth, and
//! builds nothing of it.

use indexmap::IndexMap;

use super::decode::Reader;
use super::{Error, Key};

/// Names a node.
pub(super) type NodeId = usize;

/// How a value is the same as one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tie {
    /// The same object, `r:`. It is a value of its own to what counts values.
    Object,
    /// The same variable, `R:`.
    Variable,
}

/// A value.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// Its bytes; of an array that was merged here, none.
    pub(super) bytes: &'a [u8],
    pub(super) shape: Shape<'a>,
    /// A value behind it is the same.
    pub(super) tie: Option<Tie>,
}

#[derive(Debug)]
pub(super) enum Shape<'a> {
    /// Null, a boolean, a number or a string.
    Scalar,
    /// An object whose inside is not looked at: an enum, or one with a format of its own.
    Closed,
    Array(IndexMap<Key, NodeId>),
    /// An object: the bytes before its properties, and these with their names.
    Object(&'a [u8], Vec<(&'a [u8], NodeId)>),
    /// The same as another one, which is none of this shape.
    Same(Tie, NodeId),
}

/// The values of some inputs.
#[derive(Debug, Default)]
pub(super) struct Document<'a> {
    nodes: Vec<Node<'a>>,
    /// Some values are the same.
    pub(super) has_ties: bool,
    /// Some object has a format of its own: how many values are in it is not known.
    has_closed: bool,
}

/// An array or object whose entries are being read.
struct Open {
    node: NodeId,
    start: usize,
    left: usize,
}

impl<'a> Document<'a> {
    /// Reads one input; returns its value.
    pub(super) fn read(&mut self, input: &'a [u8]) -> Result<NodeId, Error> {
        let mut reader = Reader::new(input, usize::MAX);
        let root = self.nodes.len();
        // What `r:` and `R:` count.
        let mut values = Vec::new();
        let mut open = Vec::new();
        loop {
            let start = reader.offset();
            let (shape, left) = self.value(&mut reader, &mut values)?;
            let bytes = input.get(start..reader.offset()).unwrap_or_default();
            if let Some(left) = left {
                open.push(Open { node: self.nodes.len(), start, left });
            }
            self.nodes.push(Node { bytes, shape, tie: None });
            while let Some(Open { node, start, .. }) = open.pop_if(|open| open.left == 0) {
                reader.expect(b"}", "} after the entries of an array or object")?;
                self.node_mut(node).bytes = input.get(start..reader.offset()).unwrap_or_default();
            }
            let Some(container) = open.last_mut() else { break };
            container.left -= 1;
            let child = self.nodes.len();
            let start = reader.offset();
            let key = reader.key()?;
            let name = input.get(start..reader.offset()).unwrap_or_default();
            match &mut self.node_mut(container.node).shape {
                // A key that comes again has its first place and its last value.
                Shape::Array(entries) => _ = entries.insert(key, child),
                Shape::Object(_, entries) => entries.push((name, child)),
                Shape::Scalar | Shape::Closed | Shape::Same(..) => {}
            }
        }
        reader.end()?;
        if self.has_ties && self.has_closed {
            let what = "an object with its own format (C:) beside references";
            return Err(Error::Refused { what, offset: 0 });
        }
        Ok(root)
    }

    /// Reads a value, or the beginning of an array or object and how many entries follow.
    fn value(
        &mut self,
        reader: &mut Reader<'a>,
        values: &mut Vec<NodeId>,
    ) -> Result<(Shape<'a>, Option<usize>), Error> {
        let start = reader.offset();
        let tag = reader.tag()?;
        if let Some(tie) = tie_of(tag) {
            let target = reader.int()?;
            let place = usize::try_from(target).ok().and_then(|number| number.checked_sub(1));
            let target = place.and_then(|place| values.get(place)).copied();
            let expected = "the number of a value before";
            let target = target.ok_or(Error::Malformed { expected, offset: start })?;
            if tie == Tie::Object {
                values.push(target);
            }
            self.has_ties = true;
            let tied = &mut self.node_mut(target).tie;
            *tied = if *tied == Some(Tie::Variable) { *tied } else { Some(tie) };
            return Ok((Shape::Same(tie, target), None));
        }
        values.push(self.nodes.len());
        match tag {
            [b'N', b';'] => {}
            [b'b', b':'] => _ = reader.bool(start)?,
            [b'i', b':'] => _ = reader.int()?,
            [b'd', b':'] => _ = reader.float()?,
            [b's', b':'] => _ = reader.string()?,
            [b'E', b':'] => {
                reader.string()?;
                return Ok((Shape::Closed, None));
            }
            [b'C', b':'] => {
                reader.quoted()?;
                reader.expect(b"\":", "\": after a class")?;
                let length = reader.length_before(b':')?;
                reader.expect(b"{", "{ before an object's own format")?;
                reader.take(length, "an object's own format as long as it says")?;
                reader.expect(b"}", "} after an object's own format")?;
                self.has_closed = true;
                return Ok((Shape::Closed, None));
            }
            [b'a', b':'] => {
                let left = entries(reader)?;
                return Ok((Shape::Array(IndexMap::new()), Some(left)));
            }
            [b'O', b':'] => {
                let class = reader.quoted()?;
                reader.expect(b"\":", "\": after a class")?;
                let left = entries(reader)?;
                return Ok((Shape::Object(class, Vec::new()), Some(left)));
            }
            _ => return Err(Error::Malformed { expected: "a value", offset: start }),
        }
        Ok((Shape::Scalar, None))
    }

    /// Adds an array that was read nowhere.
    pub(super) fn add_array(&mut self, entries: IndexMap<Key, NodeId>) -> NodeId {
        self.nodes.push(Node { bytes: b"", shape: Shape::Array(entries), tie: None });
        self.nodes.len() - 1
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, id: NodeId) -> &Node<'a> {
        self.nodes.get(id).expect("a node's number is given out with the node")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node<'a> {
        self.nodes.get_mut(id).expect("a node's number is given out with the node")
    }

    /// Returns the value itself for one that is the same.
    pub(super) fn resolve(&self, id: NodeId) -> NodeId {
        match self.node(id).shape {
            Shape::Same(_, target) => target,
            Shape::Scalar | Shape::Closed | Shape::Array(_) | Shape::Object(..) => id,
        }
    }

    /// Returns the entries of a value, if it is an array, or the same as one.
    pub(super) fn array(&self, id: NodeId) -> Option<&IndexMap<Key, NodeId>> {
        match &self.node(self.resolve(id)).shape {
            Shape::Array(entries) => Some(entries),
            Shape::Scalar | Shape::Closed | Shape::Object(..) | Shape::Same(..) => None,
        }
    }

    /// As [`Document::array`], for changing.
    pub(super) fn array_mut(&mut self, id: NodeId) -> Option<&mut IndexMap<Key, NodeId>> {
        let id = self.resolve(id);
        match &mut self.node_mut(id).shape {
            Shape::Array(entries) => Some(entries),
            Shape::Scalar | Shape::Closed | Shape::Object(..) | Shape::Same(..) => None,
        }
    }
}

fn entries(reader: &mut Reader<'_>) -> Result<usize, Error> {
    let count = reader.length_before(b':')?;
    reader.expect(b"{", "{ before the entries of an array or object")?;
    Ok(count)
}

fn tie_of(tag: [u8; 2]) -> Option<Tie> {
    match &tag {
        b"r:" => Some(Tie::Object),
        b"R:" => Some(Tie::Variable),
        _ => None,
    }
}
