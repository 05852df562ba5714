"""Tiny invented sets in each MovieLens layout."""

import hashlib
import zipfile
from pathlib import Path

from jaxbandit.data import Ratings


def small_sets() -> dict[str, dict[str, str]]:
    """Return layout -> file name -> content."""
    genres = "|".join(["0"] * 18)
    half_csv = "userId,movieId,rating,timestamp\n7,30,0.5,1\n7,10,4.0,2\n9,10,3.5,3\n"
    movies_csv = 'movieId,title,genres\n10,"Two, Too",Drama|IMAX\n20,Unseen,War\n30,None,(no genres listed)\n'
    half_dat = "7::30::0.5::1\n7::10::4::2\n9::10::3.5::3\n"
    return {
        "ml-100k": {
            "u.data": "9\t30\t3\t1\n7\t10\t5\t2\n7\t30\t1\t3\n",
            "u.user": "7|24|M|artist|85711\n9|53|F|doctor|94043\n",
            "u.item": f"10|Café (1995)|01-Jan-1995|||1|{genres}\n20|B|||http://x|0|{genres}\n30|C||||0|{genres[:-1]}1\n",
        },
        "ml-1m": {
            "ratings.dat": "7::30::1::1\n7::10::5::2\n9::10::3::3\n",
            "users.dat": "7::M::25::10::48067\n9::F::1::2::70072\n",
            "movies.dat": "10::Café: One (1995)::Comedy|Drama\n20::B::War\n30::C::Drama\n",
        },
        "ml-10m": {"ratings.dat": half_dat, "movies.dat": "10::A: B::Comedy\n30::C::Drama|(no genres listed)\n"},
        "ml-20m": {"ratings.csv": half_csv, "movies.csv": movies_csv, "tags.csv": "userId,movieId,tag,timestamp\n"},
        "ml-25m": {"ratings.csv": half_csv, "movies.csv": movies_csv},
        "ml-32m": {"ratings.csv": half_csv, "movies.csv": movies_csv, "links.csv": "movieId,imdbId,tmdbId\n"},
    }


SMALL_SETS = small_sets()


def write_directory(layout: str, parent: Path) -> Path:
    directory = parent / layout
    directory.mkdir(parents=True)
    for name, content in SMALL_SETS[layout].items():
        (directory / name).write_bytes(content.encode("latin-1"))
    return directory


def write_zip(layout: str, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"__MACOSX/{layout}/._ratings.csv", b"shadow")
        archive.writestr(f"{layout}/", b"")
        for name, content in SMALL_SETS[layout].items():
            archive.writestr(f"{layout}/{name}", content.encode("latin-1"))
    return path


def triples(ratings: Ratings) -> list[tuple[object, object, float]]:
    return list(
        zip(
            ratings.user_ids[ratings.user].tolist(),
            ratings.item_ids[ratings.item].tolist(),
            ratings.rating.tolist(),
            strict=True,
        )
    )


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()
