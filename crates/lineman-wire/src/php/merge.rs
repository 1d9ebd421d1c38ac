//! One serialized array merged into another: what need not be understood is carried byte for byte.

use indexmap::IndexMap;

use super::document::{Document, NodeId, Shape, Tie};
use super::encode::{put_key, put_number};
use super::{Error, Key, Limits};

/// So many times as many entries as were read may be copied for arrays that are merged in several places.
const COPIES: usize = 4;

/// Merges one serialized array into another as PHP's `array_replace_recursive` does, and returns what its
/// `serialize` returns for the result.
///
/// Where both hold an array under one key, the two are merged; otherwise the value of `changes` wins. New keys go to
/// the end. Whatever is not merged is carried as its bytes are: objects, enums, floats of any precision, arrays of
/// any depth. References (`R:`, `r:`) have their numbers changed as their values have other places. Empty input,
/// and a value that is no array, are an empty array.
///
/// ```
/// use lineman_wire::php;
///
/// let session = br#"a:2:{s:4:"user";O:4:"User":0:{}s:5:"rooms";a:1:{i:0;s:1:"a";}}"#;
/// let changes = br#"a:1:{s:5:"rooms";a:1:{i:1;s:1:"b";}}"#;
/// let merged = php::replace_recursive(session, changes, php::Limits::default())?;
/// let expected = br#"a:2:{s:4:"user";O:4:"User":0:{}s:5:"rooms";a:2:{i:0;s:1:"a";i:1;s:1:"b";}}"#;
/// assert_eq!(merged, expected);
/// # Ok::<(), php::Error>(())
/// ```
///
/// # Errors
/// An input or the result is longer than `limits.size` (its depth is not looked at); bytes that PHP's `serialize` does
/// not write; an object with a format of its own (`C:`) beside references, for how many values it holds is not known;
/// references by which arrays would be merged again and again.
pub fn replace_recursive(old: &[u8], changes: &[u8], limits: Limits) -> Result<Vec<u8>, Error> {
    let mut document = Document::default();
    let old = read(&mut document, old, limits)?;
    let changes = read(&mut document, changes, limits)?;
    let root = merge(&mut document, old, changes)?;
    write(&document, root, limits)
}

/// Replaces fields of a serialized array by those of `changes`, each as a whole, takes out those of the keys in
/// `removed`, and returns what PHP's `serialize` returns for the result. New keys go to the end, and what is not replaced
/// is carried as in [`replace_recursive`].
///
/// ```
/// use lineman_wire::php;
///
/// let session = br#"a:3:{s:1:"a";i:1;s:1:"b";a:1:{i:0;i:1;}s:1:"c";i:3;}"#;
/// let changes = br#"a:1:{s:1:"b";a:1:{i:1;i:2;}}"#;
/// let replaced = php::replace_fields(session, changes, &["c".into()], php::Limits::default())?;
/// assert_eq!(replaced, br#"a:2:{s:1:"a";i:1;s:1:"b";a:1:{i:1;i:2;}}"#);
/// # Ok::<(), php::Error>(())
/// ```
///
/// # Errors
/// As [`replace_recursive`].
pub fn replace_fields(
    old: &[u8],
    changes: &[u8],
    removed: &[Key],
    limits: Limits,
) -> Result<Vec<u8>, Error> {
    let mut document = Document::default();
    let old = read(&mut document, old, limits)?;
    let changes = read(&mut document, changes, limits)?;
    let mut fields = document.array(old).cloned().unwrap_or_default();
    fields.retain(|key, _| !removed.contains(key));
    fields.extend(document.array(changes).cloned().unwrap_or_default());
    let root = document.add_array(fields);
    write(&document, root, limits)
}

/// Returns the keys under which two serialized arrays have different bytes, or only one of them has any: those of `new`,
/// then those that are gone. References count as different where their numbers are.
///
/// # Errors
/// As [`replace_recursive`].
pub fn changed_fields(old: &[u8], new: &[u8], limits: Limits) -> Result<Vec<Key>, Error> {
    let mut document = Document::default();
    let old = read(&mut document, old, limits)?;
    let new = read(&mut document, new, limits)?;
    let (Some(old), Some(new)) = (document.array(old), document.array(new)) else {
        return Ok(Vec::new());
    };
    let bytes = |node: &NodeId| document.node(*node).bytes;
    let is_other = |(key, node): &(&Key, &NodeId)| old.get(*key).map(bytes) != Some(bytes(node));
    let changed = new.iter().filter(is_other).map(|(key, _)| key);
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    Ok(changed.chain(gone).cloned().collect())
}

/// Reads an input; one that is empty, or no array, is an empty array.
fn read<'a>(document: &mut Document<'a>, input: &'a [u8], limits: Limits) -> Result<NodeId, Error> {
    if input.len() > limits.size {
        return Err(Error::TooLong { size: input.len(), limit: limits.size });
    }
    let root = if input.is_empty() { None } else { Some(document.read(input)?) };
    let array = root.filter(|root| document.array(*root).is_some());
    Ok(array.unwrap_or_else(|| document.add_array(IndexMap::new())))
}

fn write(document: &Document<'_>, root: NodeId, limits: Limits) -> Result<Vec<u8>, Error> {
    let written = vec![0; document.len()];
    let (out, open) = (Vec::new(), Vec::new());
    let mut writer = Rewriter { document, out, limit: limits.size, count: 0, written, open };
    writer.write(root)?;
    Ok(writer.out)
}

/// Returns an array with the entries of both.
fn merge(document: &mut Document<'_>, old: NodeId, changes: NodeId) -> Result<NodeId, Error> {
    let mut copies = document.len().saturating_mul(COPIES);
    let root = copy(document, old, &mut copies)?;
    let mut work = vec![(root, changes)];
    while let Some((into, from)) = work.pop() {
        let entries = document.array(from).cloned().unwrap_or_default();
        for (key, value) in entries {
            let before = document.array(into).and_then(|entries| entries.get(&key)).copied();
            let before = before.filter(|&before| document.array(before).is_some());
            let value = match before.filter(|_| document.array(value).is_some()) {
                Some(before) => {
                    let both = copy(document, before, &mut copies)?;
                    work.push((both, value));
                    both
                }
                None => value,
            };
            if let Some(entries) = document.array_mut(into) {
                entries.insert(key, value);
            }
        }
    }
    Ok(root)
}

/// Returns an array with the same entries, to be merged into. What is the same as the first one stays as it was.
fn copy(document: &mut Document<'_>, id: NodeId, left: &mut usize) -> Result<NodeId, Error> {
    let may_be_met_again = document.has_ties;
    let entries = match document.array_mut(id) {
        Some(entries) if may_be_met_again => entries.clone(),
        Some(entries) => std::mem::take(entries),
        None => IndexMap::new(),
    };
    let what = "references by which arrays are merged again and again";
    let rest = left.checked_sub(entries.len() + 1);
    *left = rest.ok_or(Error::Refused { what, offset: 0 })?;
    Ok(document.add_array(entries))
}

/// Writes a document anew, and counts its values as `r:` and `R:` do.
struct Rewriter<'d, 'a> {
    document: &'d Document<'a>,
    out: Vec<u8>,
    limit: usize,
    /// How many values there have been.
    count: usize,
    /// The number that each node has got; 0 for none.
    written: Vec<usize>,
    /// The arrays and objects that are not written to their end, each with its next entry.
    open: Vec<(NodeId, usize)>,
}

impl Rewriter<'_, '_> {
    fn write(&mut self, root: NodeId) -> Result<(), Error> {
        self.value(root);
        while let Some((id, next)) = self.open.last_mut() {
            let place = *next;
            *next += 1;
            let child = match &self.document.node(*id).shape {
                Shape::Array(entries) => entries.get_index(place).map(|(key, child)| {
                    put_key(&mut self.out, key);
                    *child
                }),
                Shape::Object(_, entries) => entries.get(place).map(|(name, child)| {
                    self.out.extend_from_slice(name);
                    *child
                }),
                Shape::Scalar | Shape::Closed | Shape::Same(..) => None,
            };
            if let Some(child) = child {
                self.value(child);
            } else {
                self.out.push(b'}');
                self.open.pop();
            }
            if self.out.len() > self.limit {
                return Err(Error::TooLong { size: self.out.len(), limit: self.limit });
            }
        }
        Ok(())
    }

    /// Writes a value, or of an array or object the beginning.
    fn value(&mut self, id: NodeId) {
        let same = match self.document.node(id).shape {
            Shape::Same(tie, _) => Some(tie),
            Shape::Scalar | Shape::Closed | Shape::Array(_) | Shape::Object(..) => None,
        };
        let id = self.document.resolve(id);
        let node = self.document.node(id);
        let is_object = matches!(node.shape, Shape::Closed | Shape::Object(..));
        // One that is met again is an object in an array that was copied, if not the same as one before.
        let tie = same.or(node.tie).or(is_object.then_some(Tie::Object));
        if let (Some(tie), Some(&number @ 1..)) = (tie, self.written.get(id)) {
            let tag: &[u8] = if tie == Tie::Object { b"r:" } else { b"R:" };
            put_number(&mut self.out, tag, number);
            self.out.push(b';');
            self.count += usize::from(tie == Tie::Object);
            return;
        }
        self.count += 1;
        if let Some(number @ 0) = self.written.get_mut(id) {
            *number = self.count;
        }
        // With ties within it may have to be written otherwise.
        let is_carried = !self.document.has_ties && !node.bytes.is_empty();
        match &node.shape {
            Shape::Array(entries) if !is_carried => {
                put_number(&mut self.out, b"a:", entries.len());
                self.open(id);
            }
            Shape::Object(class, entries) if !is_carried => {
                put_number(&mut self.out, b"O:", class.len());
                self.out.extend_from_slice(b":\"");
                self.out.extend_from_slice(class);
                put_number(&mut self.out, b"\":", entries.len());
                self.open(id);
            }
            Shape::Scalar
            | Shape::Closed
            | Shape::Array(_)
            | Shape::Object(..)
            | Shape::Same(..) => {
                self.out.extend_from_slice(node.bytes);
            }
        }
    }

    fn open(&mut self, id: NodeId) {
        self.out.extend_from_slice(b":{");
        self.open.push((id, 0));
    }
}
