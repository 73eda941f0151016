// Reads a log by Go's own `golang.org/x/mod/sumdb`: the note, the tree, an inclusion proof. It knows nothing of us.
//
//	sumdb log DIR VKEY      an exported log: the checkpoint's signature, each tile of hashes, each entry's place
//	sumdb proof FILE VKEY   a proof (C2SP tlog-proof)
//
// Says `SIZE ROOT` and ends with 0, or why not and ends with 1.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// C2SP tlog-tiles: 256 hashes to a tile.
	tileHeight  = 8
	tileWidth   = 1 << tileHeight
	proofHeader = "c2sp.org/tlog-proof@v1"
)

func main() {
	tree, err := run(os.Args[1:])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(tree.N, tree.Hash)
}

func run(args []string) (tlog.Tree, error) {
	if len(args) != 3 {
		return tlog.Tree{}, errors.New("usage: sumdb log DIR VKEY | sumdb proof FILE VKEY")
	}
	key, err := note.NewVerifier(args[2])
	if err != nil {
		return tlog.Tree{}, err
	}
	switch args[0] {
	case "log":
		return checkLog(args[1], key)
	case "proof":
		return checkProof(args[1], key)
	}
	return tlog.Tree{}, fmt.Errorf("%q is no verb", args[0])
}

// open verifies a checkpoint and reads what it states. (`tlog.ParseTree` takes the checksum database's alone.)
func open(text []byte, key note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(text, note.VerifierList(key))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != key.Name() {
		return tlog.Tree{}, errors.New("the checkpoint is not of the key's log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func checkLog(folder string, key note.Verifier) (tlog.Tree, error) {
	text, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		return tlog.Tree{}, err
	}
	tree, err := open(text, key)
	if err != nil {
		return tree, err
	}
	// It checks each tile that it reads against the root.
	hashes := tlog.TileHashReader(tree, tiles(folder))
	for first := int64(0); first < tree.N; first += tileWidth {
		bundle, err := os.ReadFile(filepath.Join(folder, path("entries", first/tileWidth, width(tree.N-first))))
		if err != nil {
			return tree, err
		}
		for leaf := first; leaf < tree.N && leaf < first+tileWidth; leaf++ {
			if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
				return tree, errors.New("a bundle is cut short")
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			proof, err := tlog.ProveRecord(tree.N, leaf, hashes)
			if err != nil {
				return tree, err
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, leaf, tlog.RecordHash(bundle[2:end])); err != nil {
				return tree, fmt.Errorf("leaf %d: %w", leaf, err)
			}
			bundle = bundle[end:]
		}
		if len(bundle) > 0 {
			return tree, errors.New("a bundle has more than its entries")
		}
	}
	return tree, nil
}

func checkProof(file string, key note.Verifier) (tlog.Tree, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	head, checkpoint, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 3 || lines[0] != proofHeader {
		return tlog.Tree{}, errors.New("no tlog-proof")
	}
	tree, err := open([]byte(checkpoint), key)
	if err != nil {
		return tree, err
	}
	entry, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return tree, err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return tree, err
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return tree, err
		}
		proof = append(proof, hash)
	}
	return tree, tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry))
}

// tiles reads them from a directory, where C2SP tlog-tiles has them.
type tiles string

func (tiles) Height() int                     { return tileHeight }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (folder tiles) ReadTiles(asked []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range asked {
		bytes, err := os.ReadFile(filepath.Join(string(folder), path(strconv.Itoa(tile.L), tile.N, tile.W)))
		if err != nil {
			return nil, err
		}
		read = append(read, bytes)
	}
	return read, nil
}

func width(left int64) int {
	if left > tileWidth {
		return tileWidth
	}
	return int(left)
}

func path(level string, index int64, width int) string {
	text := fmt.Sprintf("%03d", index%1000)
	for index /= 1000; index > 0; index /= 1000 {
		text = fmt.Sprintf("x%03d/%s", index%1000, text)
	}
	if width < tileWidth {
		text += fmt.Sprintf(".p/%d", width)
	}
	return filepath.Join("tile", level, text)
}
