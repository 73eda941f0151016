//! The same trees, proofs, tiles and notes as another's code makes and takes: the crates `tlog_tiles` and `signed_note`.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::cell::RefCell;
use std::collections::BTreeMap;

use marque_identity::UnixSeconds;
use marque_ledger::{
    Checkpoint, Edge, FullTile, Hash, KeyKind, LedgerError, Note, TileId, TileKind, TileSource, VerifierKey, cosign,
    prove_consistency, prove_inclusion, root_at, verify_consistency, verify_inclusion,
};
use marque_signing::SigningKey;
use signed_note::{Signer, StandardSigner, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::{HashReader, Tile, TileReader};

/// Every size up to here is compared with every smaller one.
const SIZE_MAX: u64 = 200;
/// Sizes about which a tile is filled; a row of level 1 begins.
const ABOUT_A_TILE: [u64; 7] = [255, 256, 257, 511, 512, 513, 777];

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn theirs(hash: Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash.0)
}

fn ours(hash: &tlog_tiles::Hash) -> Hash {
    Hash(hash.0)
}

fn all_ours(proof: &[tlog_tiles::Hash]) -> Vec<Hash> {
    proof.iter().map(ours).collect()
}

fn all_theirs(proof: &[Hash]) -> Vec<tlog_tiles::Hash> {
    proof.iter().copied().map(theirs).collect()
}

/// Their tree: every stored hash in a row.
#[derive(Default)]
struct Row(Vec<tlog_tiles::Hash>);

impl Row {
    fn of(size: u64) -> Self {
        let mut row = Self::default();
        for index in 0..size {
            let new = tlog_tiles::stored_hashes(index, &entry(index), &row).unwrap();
            row.0.extend(new);
        }
        row
    }
}

impl HashReader for Row {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

/// Our tree at one size: its tiles by path, and its root.
struct Tree {
    size: u64,
    root: Hash,
    tiles: BTreeMap<String, Vec<u8>>,
    /// Paths that a foreign reader asked for.
    asked: RefCell<Vec<String>>,
}

impl Tree {
    fn of(size: u64) -> Self {
        let (mut edge, mut full) = (Edge::new(), Vec::new());
        (0..size).for_each(|index| edge.append(Hash::leaf(&entry(index)), &mut full));
        let mut tiles: BTreeMap<String, Vec<u8>> =
            full.into_iter().map(|FullTile { id, bytes, .. }| (id.path(), bytes)).collect();
        for (level, bytes) in edge.open().filter(|(_, bytes)| !bytes.is_empty()) {
            let kind = TileKind::Hashes(level);
            let id = TileId::covering(kind, TileId::count(kind, size) / 256, size).unwrap();
            tiles.insert(id.path(), bytes);
        }
        Self { size, root: edge.root(), tiles, asked: RefCell::default() }
    }
}

impl TileSource for Tree {
    fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
        self.tiles.get(&id.path()).cloned().ok_or(LedgerError::OutOfRange)
    }
}

/// Their path of a tile has the height, which C2SP's has not.
fn without_height(tile: &Tile) -> String {
    tile.path().replacen("tile/8/", "tile/", 1)
}

impl TileReader for Tree {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let paths: Vec<String> = tiles.iter().map(without_height).collect();
        self.asked.borrow_mut().extend(paths.iter().cloned());
        Ok(paths.iter().map(|path| self.tiles[path].clone()).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn roots_are_theirs_at_every_size() {
    let row = Row::of(ABOUT_A_TILE[6]);
    for size in (0..=SIZE_MAX).chain(ABOUT_A_TILE) {
        let tree = Tree::of(size);
        assert_eq!(tree.root, ours(&tlog_tiles::tree_hash(size, &row).unwrap()), "size {size}");
        assert_eq!(root_at(&tree, size).unwrap(), tree.root, "size {size}");
    }
    assert_eq!(Hash::empty_root(), ours(&tlog_tiles::EMPTY_HASH));
}

#[test]
fn every_inclusion_proof_is_theirs_and_each_takes_the_others() {
    let row = Row::of(SIZE_MAX);
    for size in 1..=SIZE_MAX {
        let tree = Tree::of(size);
        for index in 0..size {
            let leaf = Hash::leaf(&entry(index));
            let (own, foreign) =
                (prove_inclusion(&tree, index, size).unwrap(), tlog_tiles::prove_record(size, index, &row).unwrap());
            assert_eq!(own, all_ours(&foreign), "leaf {index} of {size}");
            let check = |proof: &[Hash], root| {
                tlog_tiles::check_record(&all_theirs(proof), size, theirs(root), index, theirs(leaf)).is_ok()
            };
            assert!(check(&own, tree.root), "leaf {index} of {size}");
            assert_eq!(verify_inclusion(index, size, leaf, &all_ours(&foreign), tree.root), Ok(()));
            // Neither takes it for another root, nor one that is cut short.
            let other = Hash::node(tree.root, tree.root);
            assert!(!check(&own, other) && verify_inclusion(index, size, leaf, &own, other).is_err());
            if let Some((_, cut)) = own.split_last() {
                assert!(!check(cut, tree.root) && verify_inclusion(index, size, leaf, cut, tree.root).is_err());
            }
        }
    }
}

#[test]
fn every_consistency_proof_is_theirs_and_each_takes_the_others() {
    let row = Row::of(SIZE_MAX);
    let roots: Vec<Hash> = (0..=SIZE_MAX).map(|size| Tree::of(size).root).collect();
    let root = |size: u64| roots[usize::try_from(size).unwrap()];
    for size2 in 1..=SIZE_MAX {
        let tree = Tree::of(size2);
        for size1 in 1..=size2 {
            let (own, foreign) =
                (prove_consistency(&tree, size1, size2).unwrap(), tlog_tiles::prove_tree(size2, size1, &row).unwrap());
            assert_eq!(own, all_ours(&foreign), "{size1} to {size2}");
            let check = |proof: &[Hash], root1: Hash| {
                tlog_tiles::check_tree(&all_theirs(proof), size2, theirs(root(size2)), size1, theirs(root1)).is_ok()
            };
            assert!(check(&own, root(size1)), "{size1} to {size2}");
            assert_eq!(verify_consistency(size1, size2, &all_ours(&foreign), root(size1), root(size2)), Ok(()));
            // Neither takes it for another beginning, nor one that is cut short.
            let other = Hash::node(root(size1), root(size1));
            assert!(!check(&own, other) && verify_consistency(size1, size2, &own, other, root(size2)).is_err());
            if let Some((_, cut)) = own.split_last() {
                let refused = verify_consistency(size1, size2, cut, root(size1), root(size2)).is_err();
                assert!(!check(cut, root(size1)) && refused, "{size1} to {size2}");
            }
        }
    }
}

/// Another proof than ours is refused by both, whatever hash in it is touched.
#[test]
fn a_touched_proof_is_refused_by_both() {
    for size in [2, 3, 7, 8, 100, SIZE_MAX] {
        let tree = Tree::of(size);
        for index in [0, size / 2, size - 1] {
            let (leaf, own) = (Hash::leaf(&entry(index)), prove_inclusion(&tree, index, size).unwrap());
            for (place, byte) in (0..own.len()).flat_map(|place| [(place, 0), (place, 31)]) {
                let mut touched = own.clone();
                touched[place].0[byte] ^= 1;
                let by_them =
                    tlog_tiles::check_record(&all_theirs(&touched), size, theirs(tree.root), index, theirs(leaf));
                assert!(by_them.is_err());
                assert!(verify_inclusion(index, size, leaf, &touched, tree.root).is_err());
            }
        }
    }
}

#[test]
fn tiles_have_their_paths_and_their_hashes() {
    let row = Row::of(ABOUT_A_TILE[6]);
    for size in (1..=SIZE_MAX).chain(ABOUT_A_TILE) {
        let tree = Tree::of(size);
        let foreign: BTreeMap<String, Vec<u8>> = Tile::new_tiles(8, 0, size)
            .iter()
            .map(|tile| (without_height(tile), tile.read_data(&row).unwrap()))
            .collect();
        assert_eq!(tree.tiles, foreign, "size {size}");
        let listed: Vec<String> =
            TileId::all(size).filter(|id| id.kind != TileKind::Entries).map(|id| id.path()).collect();
        assert!(foreign.keys().eq(listed.iter()), "size {size}");
    }
    for index in [0, 1, 999, 1000, 1001, 999_999, 1_000_000, 1_234_067, u64::MAX / 1000, u64::MAX] {
        for (level, width) in [(0, 1), (0, 256), (1, 255), (7, 7)] {
            let own = TileId { kind: TileKind::Hashes(level), index, width };
            let foreign = Tile::new(8, level, index, width.into(), false);
            assert_eq!(own.path(), without_height(&foreign));
            let read = Tile::from_path(&own.path().replacen("tile/", "tile/8/", 1)).ok().unwrap();
            assert!(read == foreign);
            assert_eq!(TileId::parse(&without_height(&foreign)), Ok(own));
        }
    }
}

/// Their reader, which checks each tile against the root, proves from our tiles.
#[test]
fn their_reader_authenticates_our_tiles() {
    for size in [1, 2, 3, 127, 128, 199, 200].into_iter().chain(ABOUT_A_TILE) {
        let tree = Tree::of(size);
        let reader = tlog_tiles::TileHashReader::new(size, theirs(tree.root), &tree);
        for index in [0, size / 3, size - 1] {
            let proof = tlog_tiles::prove_record(size, index, &reader).unwrap();
            assert_eq!(all_ours(&proof), prove_inclusion(&tree, index, size).unwrap(), "leaf {index} of {size}");
        }
        assert_eq!(ours(&tlog_tiles::tree_hash(size, &reader).unwrap()), tree.root);
        assert!(!tree.asked.borrow().is_empty());
        // A touched tile is found, so that the reader does look.
        let mut touched = Tree::of(tree.size);
        touched.tiles.values_mut().for_each(|bytes| bytes[0] ^= 1);
        let reader = tlog_tiles::TileHashReader::new(size, theirs(tree.root), &touched);
        assert!(tlog_tiles::tree_hash(size, &reader).is_err());
    }
}

const ORIGIN: &str = "acme.example/audit";

fn key() -> SigningKey {
    SigningKey::from_seed(&[4; 32])
}

fn vkey() -> VerifierKey {
    VerifierKey::new(ORIGIN, KeyKind::Ed25519, key().public()).unwrap()
}

/// The same key as their signer reads it.
fn signer(name: &str) -> StandardSigner {
    use base64::Engine as _;
    let typed = [&[1_u8][..], &[4; 32]].concat();
    let public = VerifierKey::new(name, KeyKind::Ed25519, key().public()).unwrap();
    let id = u32::from_be_bytes(public.key_id());
    let typed = base64::engine::general_purpose::STANDARD.encode(typed);
    StandardSigner::new(&format!("PRIVATE+KEY+{name}+{id:08x}+{typed}")).unwrap()
}

fn known() -> VerifierList {
    VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey().to_string()).unwrap())])
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size, root: Tree::of(size).root }
}

#[test]
fn a_verifier_key_has_their_id_and_their_spelling() {
    for name in [ORIGIN, "x", "é.example/log", "a/b/c"] {
        let own = VerifierKey::new(name, KeyKind::Ed25519, key().public()).unwrap();
        let foreign = StandardVerifier::new(&own.to_string()).unwrap();
        assert_eq!((foreign.name(), foreign.key_id()), (name, u32::from_be_bytes(own.key_id())));
        assert_eq!(signer(name).key_id(), foreign.key_id());
    }
    // What either refuses, the other does too.
    let text = vkey().to_string();
    for wrong in [text.replacen('+', " ", 1), text.replacen("example", "exomple", 1), text[..text.len() - 4].into()] {
        assert!(StandardVerifier::new(&wrong).is_err() && wrong.parse::<VerifierKey>().is_err(), "{wrong}");
    }
}

#[test]
fn they_open_our_checkpoint() {
    for size in [0, 1, 200, 256] {
        let own = checkpoint(size);
        let note = own.sign(&key()).unwrap();
        let foreign = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
        let (verified, unverified) = foreign.verify(&known()).unwrap();
        assert_eq!((verified.len(), unverified.len()), (1, 0));
        assert_eq!(foreign.to_bytes(), note.as_bytes());
        let read = tlog_tiles::Checkpoint::from_bytes(foreign.text()).unwrap();
        assert_eq!((read.origin(), read.size(), ours(read.hash())), (ORIGIN, size, own.root));
        assert_eq!((read.extension(), read.to_bytes()), ("", own.text().into_bytes()));
    }
}

#[test]
fn we_open_their_checkpoint() {
    for size in [0, 1, 200, 256] {
        let own = checkpoint(size);
        let foreign = tlog_tiles::Checkpoint::new(ORIGIN, size, theirs(own.root), "").unwrap();
        let mut note = signed_note::Note::new(&foreign.to_bytes(), &[]).unwrap();
        note.add_sigs(&[&signer(ORIGIN)]).unwrap();
        assert_eq!(Checkpoint::open(&note.to_bytes(), &[vkey()]).unwrap(), own);
        // Ed25519 has one signature for a key and a text: the notes are equal to the byte.
        assert_eq!(note.to_bytes(), own.sign(&key()).unwrap().into_bytes());
    }
}

/// A witness's line is of a type that they don't know: they pass it over, and still see the log's.
#[test]
fn they_pass_over_a_cosignature() {
    let own = checkpoint(7);
    let mut note = Note::parse(own.sign(&key()).unwrap().as_bytes()).unwrap();
    let witness = SigningKey::from_seed(&[5; 32]);
    note.add(cosign(note.text(), "w.example", &witness, UnixSeconds(1_700_000_000)).unwrap());
    let foreign = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
    let (verified, unverified) = foreign.verify(&known()).unwrap();
    assert_eq!((verified[0].name(), unverified[0].name()), (ORIGIN, "w.example"));
    assert_eq!(unverified[0].signature().len() + 4, 76);
}

#[test]
fn a_touched_note_is_refused_by_both() {
    let note = checkpoint(200).sign(&key()).unwrap().into_bytes();
    for at in 0..note.len() {
        let mut touched = note.clone();
        touched[at] ^= 1;
        let by_them = signed_note::Note::from_bytes(&touched).is_ok_and(|note| note.verify(&known()).is_ok());
        let by_us = Note::parse(&touched).is_ok_and(|note| note.verify(&[vkey()]).is_ok());
        assert!(!by_them && !by_us, "byte {at}");
        assert!(Checkpoint::open(&touched, &[vkey()]).is_err());
    }
}

/// The same noise is a note, or none, for both.
#[test]
fn both_call_the_same_bytes_a_note() {
    let good = checkpoint(7).sign(&key()).unwrap();
    let line = good.lines().last().unwrap().to_owned();
    for text in [
        good.clone(),
        good.trim_end().to_owned(),
        good.replace("\n\n", "\n"),
        good.replace('—', "-"),
        good.replace("— ", "—"),
        format!("{good}\n"),
        format!("{good}{line}\n"),
        format!("{good}{line}"),
        format!("\n{good}"),
        format!("x\n\n{good}"),
        good.replace('\n', "\r\n"),
        good.replacen('7', "\u{7}", 1),
        "\n\n".to_owned(),
        String::new(),
        "text\n\n— name \n".to_owned(),
        "text\n\n— name AAAA\n".to_owned(),
        "text\n\n— name AAAAAA==\n".to_owned(),
        "text\n\n— name AAAAAAA=\n".to_owned(),
        "text\n\n— na+me AAAAAAA=\n".to_owned(),
        "text\n\n—  AAAAAAA=\n".to_owned(),
    ] {
        let by_them = signed_note::Note::from_bytes(text.as_bytes()).is_ok();
        assert_eq!(Note::parse(text.as_bytes()).is_ok(), by_them, "{text:?}");
    }
}
