"""The files of a folder or an archive: each real file once, and what is passed over by name.

A link is followed where it leads to something that is not read already, so images kept elsewhere are found and a link
into its own parent ends the walk. A file with several names (hard links, or links to one file) is one image: counted
twice it would narrow an interval without adding a measurement.
"""

import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from seasoning.data.suffixes import is_image, is_text, is_unread_picture, suffix_of
from seasoning.errors import BadInput


__all__ = [
    "ImageFile",
    "PassedOver",
    "Tree",
    "files_in",
    "folders_in",
    "is_archive",
    "left_out",
    "read_tree",
    "unread_kinds",
]

_ARCHIVES = (".tar", ".tar.gz", ".tgz")

# Folders in which systems and storage devices keep thumbnails, deleted files and the like, beside hidden ones.
_SYSTEM_FOLDERS = frozenset(
    ("__MACOSX", "__pycache__", "lost+found", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information")
)
# Validation images of ImageNet in a folder that is no class.
_FLAT = re.compile(r"(?!n\d{8}/)[^/]+/ILSVRC2012_val_\d{8}")


class ImageFile(NamedTuple):
    """Where a file lies: its name below the root, the file that holds its bytes, and which of those they are.

    Bytes of a compressed archive, which cannot be reached one by one, are held as `content`.
    """

    name: str
    path: str
    offset: int = 0
    size: int = -1
    content: bytes | None = None

    def read(self) -> bytes:
        """Its bytes."""
        if self.content is not None:
            return self.content
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


class PassedOver(NamedTuple):
    """A file or a folder that is not read: why, in the words of `_REASONS`, and its name below the root."""

    reason: str
    name: str


class Tree(NamedTuple):
    """What lies below a folder or in an archive.

    Args:
        root: The folder or the archive.
        folders: Names of the folders right below it, in their order.
        files: The files in the order of their names, each real file once.
        passed: What is not among the files.
        same: Pairs of names of one image or one folder, the one that counts first, where neither is more real than
            the other.
    """

    root: Path
    folders: tuple[str, ...]
    files: tuple[ImageFile, ...]
    passed: tuple[PassedOver, ...] = ()
    same: tuple[tuple[str, str], ...] = ()

    def images(self) -> list[ImageFile]:
        """The files that are images by their suffix, of a kind that can be read here."""
        return [file for file in self.files if is_image(file.name)]


_HIDDEN, _LINK, _SAME, _LOST, _SPECIAL = "hidden", "link", "same", "lost", "special"
_REASONS = {
    _HIDDEN: ("image that is hidden or in a system folder", "images that are hidden or in system folders"),
    _LINK: ("link to what is read already", "links to what is read already"),
    _SAME: ("further name of a file that is read already", "further names of files that are read already"),
    _LOST: ("link that leads nowhere", "links that lead nowhere"),
    _SPECIAL: ("thing that is neither file nor folder", "things that are neither files nor folders"),
}


def left_out(tree: Tree, used: Collection[ImageFile]) -> list[str]:
    """What of a tree is not among the images used, counted and named; labels and descriptions are not mentioned.

    Returns:
        One sentence, or none where nothing was passed over.
    """
    said = _other_kinds(tree)
    names = {file.name for file in used}
    unused = [file.name for file in tree.images() if file.name not in names]
    if unused:
        said.append(f"{len(unused)} image{'s' if len(unused) > 1 else ''} without a class, such as {unused[0]}")
    for reason, passed in groupby(sorted(tree.passed), lambda each: each.reason):
        found = [file.name for file in passed]
        said.append(f"{len(found)} {_REASONS[reason][len(found) > 1]}, such as {found[0]}")
    return [f"passed over: {'; '.join(said)}"] if said else []


def unread_kinds(tree: Tree) -> list[str]:
    """Suffixes of pictures in a tree that cannot be read here, such as `".heic"`."""
    return sorted({suffix_of(file.name) for file in tree.files if is_unread_picture(file.name)})


def folders_in(root: Path) -> list[str]:
    """Names of the visible folders right below one, in their order; none of a file."""
    return [entry.name for entry in _visible_in(root) if _surely(entry.is_dir)]


def files_in(root: Path) -> list[ImageFile]:
    """The visible files right in a folder, in the order of their names; none of a file."""
    return [ImageFile(entry.name, entry.path) for entry in _visible_in(root) if _surely(entry.is_file)]


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of a tar archive, compressed or not."""
    return path.name.lower().endswith(_ARCHIVES) and path.is_file()


def _is_visible(name: str) -> bool:
    """Whether a file or a folder of this name counts: not those that are hidden or that a storage device made."""
    # `@eaDir`, `@__thumb`, `@Recycle` and so on; a folder `@` alone may be the class of that character.
    return not (name.startswith(".") or name in _SYSTEM_FOLDERS or (name.startswith("@") and len(name) > 1))


def read_tree(root: Path) -> Tree:
    """What lies below a folder, or in an archive as it is: nothing is unpacked.

    Hidden files, and folders of systems and storage devices, are passed over. A lone top folder of an archive is no
    part of the names.

    Raises:
        BadInput: the archive is damaged, or a folder cannot be listed.
    """
    if is_archive(root):
        return _in_archive(root, root.stat().st_mtime_ns)
    walk = _Walk(root)
    return Tree(root, tuple(sorted(walk.tops)), tuple(sorted(walk.files.values())), tuple(walk.passed), walk.same)


def _other_kinds(tree: Tree) -> list[str]:
    """Files that are no images by their suffix, the most of a kind first, as in `["12 files of .heic, 1 of .mp4"]`."""
    suffixes = Counter(suffix_of(file.name) for file in tree.files if not (is_image(file.name) or is_text(file.name)))
    kinds = sorted((-count, f"of {suffix}" if suffix else "without a suffix") for suffix, count in suffixes.items())
    if not kinds:
        return []
    (most, first), *others = kinds
    return [
        ", ".join([f"{-most} file{'s' if most < -1 else ''} {first}", *(f"{-count} {kind}" for count, kind in others)])
    ]


class _Walk:
    """One pass over a folder: what really lies in it first, then what links lead to.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.files: dict[str, ImageFile] = {}
        self.tops: set[str] = set()
        self.passed: list[PassedOver] = []
        self.same: tuple[tuple[str, str], ...] = ()
        self._root = os.path.realpath(root)
        self._entered: dict[tuple[int, int], str] = {}  # folders by device and inode
        self._bases: dict[
            str, str
        ] = {}  # real paths of the root and of linked folders, and what their names begin with
        self._inodes: dict[tuple[int, int], str] = {}  # files by device and inode
        self._linked: dict[str, str] = {}  # real paths of linked files, and the names that count
        self._links: list[tuple[str, str]] = []
        self._enter("", str(root))
        while self._links:
            links, self._links = sorted(self._links), []
            for name, path in links:
                self._follow(name, path)

    def _enter(self, prefix: str, path: str) -> None:
        """Read a folder and all below it; its links are kept for later."""
        self._bases[os.path.realpath(path)] = prefix
        files: list[tuple[str, str, tuple[int, int]]] = []
        todo = [(prefix, path)]
        while todo:
            prefix, path = todo.pop()
            device = self._new_folder(prefix, path)
            for entry in [] if device is None else _listed(path):
                name = prefix + entry.name
                if not _is_visible(entry.name):
                    self.passed += [PassedOver(_HIDDEN, image) for image in _hidden_images(name, entry)]
                elif entry.is_symlink():
                    self._links.append((name, entry.path))
                elif entry.is_dir(follow_symlinks=False):
                    todo.append((f"{name}/", entry.path))
                elif entry.is_file(follow_symlinks=False):
                    files.append((name, entry.path, (device or 0, entry.inode())))
                else:
                    self.passed.append(PassedOver(_SPECIAL, name))
        for name, file, inode in sorted(files):
            self._take(name, file, inode)

    def _new_folder(self, prefix: str, path: str) -> int | None:
        """The device of a folder that was not read before; `None` of one that was."""
        found = os.stat(path)
        if found.st_ino and self._entered.setdefault((found.st_dev, found.st_ino), prefix) != prefix:
            self.passed.append(PassedOver(_LINK, prefix.rstrip("/")))
            return None
        if prefix.count("/") == 1:
            self.tops.add(prefix[:-1])
        return found.st_dev

    def _take(self, name: str, path: str, inode: tuple[int, int]) -> None:
        """Keep a file, unless it is there under another name."""
        first = self._inodes.setdefault(inode, name)
        # Some file systems give one number to several files: only a second look tells.
        if first != name and os.path.samefile(path, self.files[first].path) and self._has_names(first, path):
            self._pass_same(first, name)
        else:
            self.files[name] = ImageFile(name, path)

    def _has_names(self, first: str, path: str) -> bool:
        """Whether a file may have two names: by hard links, or since the first one is a link."""
        return os.stat(path).st_nlink > 1 or os.path.islink(self.files[first].path)

    def _pass_same(self, first: str, name: str) -> None:
        self.passed.append(PassedOver(_SAME, name))
        if _is_in_folder(first) and _is_in_folder(name):
            self.same += ((first, name),)

    def _follow(self, name: str, path: str) -> None:
        """Read what a link leads to, unless that is read already."""
        target = os.path.realpath(path)
        if os.path.isdir(path):
            self._follow_to_folder(name, path, target)
        elif os.path.isfile(path):
            if self._is_real(target):
                self.passed.append(PassedOver(_LINK, name))
            elif target in self._linked:
                self._pass_same(self._linked[target], name)
            else:
                self._linked[target] = name
                found = os.stat(path)
                self._take(name, path, (found.st_dev, found.st_ino))
        elif os.path.exists(path):
            self.passed.append(PassedOver(_SPECIAL, name))
        elif is_image(name):
            # An image that is said to be here and is not: whoever reads it says so.
            self.files[name] = ImageFile(name, path)
        else:
            self.passed.append(PassedOver(_LOST, name))

    def _follow_to_folder(self, name: str, path: str, target: str) -> None:
        found = os.stat(path)
        around = (self._root, os.path.realpath(os.path.dirname(path)))
        if (found.st_dev, found.st_ino) not in self._entered and not any(
            Path(folder).is_relative_to(target) for folder in around
        ):
            self._enter(f"{name}/", path)
            return
        self.passed.append(PassedOver(_LINK, name))
        # Two links to one folder: neither is its own name.
        first = self._bases.get(target, "")
        if first:
            self.same += ((first.rstrip("/"), name),)

    def _is_real(self, target: str) -> bool:
        """Whether a real path is that of a file that is read under its own name."""
        folder = os.path.dirname(target)
        while folder not in self._bases:
            if folder == (folder := os.path.dirname(folder)):
                return False
        return self._bases[folder] + Path(target).relative_to(folder).as_posix() in self.files


def _listed(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise BadInput(f"{path} cannot be listed ({error.strerror}): its images would be missing") from error


def _visible_in(root: Path) -> list[os.DirEntry[str]]:
    there = _listed(str(root)) if root.is_dir() else []
    return sorted((entry for entry in there if _is_visible(entry.name)), key=lambda entry: entry.name)


def _surely(answer: Callable[[], bool]) -> bool:
    """What a folder's entry says of itself; a link in a circle is nothing."""
    try:
        return answer()
    except OSError:
        return False


def _is_in_folder(name: str) -> bool:
    """Whether a file is an image that may belong to a class."""
    return "/" in name and is_image(name)


def _hidden_images(name: str, entry: os.DirEntry[str]) -> Iterable[str]:
    """Images in what is passed over as hidden: only their names are of interest, and no link is followed."""
    if entry.is_dir(follow_symlinks=False):
        for folder, _, files in os.walk(entry.path):
            below = Path(folder).relative_to(entry.path).as_posix()
            yield from (str(PurePosixPath(name, below, file)) for file in files if is_image(file))
    elif is_image(entry.name):
        yield name


@lru_cache(maxsize=1)
def _in_archive(path: Path, changed: int) -> Tree:
    compressed = not path.name.lower().endswith(".tar")
    files: dict[str, ImageFile] = {}
    links: list[tuple[str, str, bool]] = []
    passed: list[PassedOver] = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).as_posix()
                if member.isdir():
                    continue
                if not all(map(_is_visible, name.split("/"))):
                    passed += [PassedOver(_HIDDEN, name)] if is_image(name) else []
                elif member.issym() or member.islnk():
                    links.append((name, member.linkname, member.issym()))
                elif member.isfile():
                    file = archive.extractfile(member) if compressed else None
                    content = None if file is None else file.read()
                    # A name that was added a second time replaces the first, as it does when unpacked.
                    files[name] = ImageFile(name, str(path), member.offset_data, member.size, content)
                else:
                    passed.append(PassedOver(_SPECIAL, name))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadInput(f"{path} is no archive, or damaged ({error}): copy it again") from error
    same = []
    for name, target, soft in links:
        inside = os.path.normpath(PurePosixPath(name).parent / target if soft else target).replace(os.sep, "/")
        if inside not in files and not any(file.startswith(f"{inside}/") for file in files):
            passed.append(PassedOver(_LOST, name))
        else:
            passed.append(PassedOver(_LINK if soft else _SAME, name))
            same += [] if soft or not (_is_in_folder(inside) and _is_in_folder(name)) else [(inside, name)]
    return _without_lone_folder(Tree(path, (), tuple(files.values()), tuple(passed), tuple(same)))


def _without_lone_folder(tree: Tree) -> Tree:
    """An archive's tree below the top folders that hold all of it and are no class."""
    while tree.files and len({file.name.split("/", 1)[0] for file in tree.files}) == 1:
        # With one more folder below, the top is no class; a flat lone folder holds the files of a set, or is a class.
        depths = {file.name.count("/") for file in tree.files}
        images = [file.name for file in tree.images()]
        if min(depths) < 1 or (depths == {1} and images and not all(map(_FLAT.match, images))):
            break
        top = tree.files[0].name.split("/", 1)[0] + "/"
        tree = tree._replace(
            files=tuple(file._replace(name=file.name.removeprefix(top)) for file in tree.files),
            passed=tuple(file._replace(name=file.name.removeprefix(top)) for file in tree.passed),
            same=tuple((one.removeprefix(top), other.removeprefix(top)) for one, other in tree.same),
        )
    folders = {file.name.split("/", 1)[0] for file in tree.files if "/" in file.name}
    return tree._replace(folders=tuple(sorted(folders)), files=tuple(sorted(tree.files)))
