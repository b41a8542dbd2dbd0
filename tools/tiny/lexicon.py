# SPDX-License-Identifier: Apache-2.0
"""Words of the small world: who lives in it, where, with what. Data only, plus `grammar.fill`'s helpers' input.

Every list is ordered and fixed: the order is part of the seed, so append and never reorder.
"""

WOMEN = """Mia Anna Lena Clara Nora Ruth Ida Vera Ella Lucy Rosa Emma Ada Zoe Ivy Maya Tess Lily Alma Sara
Hana Olga Jane Kate Iris Nina Dora Eva Elsa Mary Joan Beth Faye Gwen Hope June Leah Myra Opal Rita""".split()
MEN = """Tom Ben Max Leo Otto Paul Finn Hugo Carl Noah Adam Erik Ivan Omar Sam Jack Luke Felix Oscar Theo
Hans Karl Liam Mark Neil Owen Pete Ravi Saul Toby Umar Victor Walt Yusuf Abel Boris Cyrus Dan Ezra Fred""".split()
NAMES = WOMEN + MEN
IS_WOMAN = {name: True for name in WOMEN} | {name: False for name in MEN}

TOWNS = """Arvel Bexton Corrin Dalby Elmar Fenwick Garrow Holmby Istra Jorvik Kelso Lunde Marlow Norden Orby Pella
Quillon Ronda Selby Tarnby Ulver Varna Wexley Yarrow Zemlin Ashford Brindle Cresta Dunmore Easton Farley Glenby
Hadley Ingrave Kirkby Linton Melby Novara Oakham Preston""".split()
RIVERS = "Alder Bourne Calder Derwen Esk Foss Gade Hodder Irwell Kenn Lune Mole Nidd Ouse Parrett Rother".split()

JOBS = """baker teacher farmer doctor sailor painter miller tailor gardener smith fisher cook singer driver nurse
weaver builder hunter writer dancer carpenter shepherd potter guard judge pilot miner printer clerk barber""".split()
ANIMALS = """dog cat goat horse rabbit parrot duck goose sheep pony turtle mouse hen pig cow donkey fox owl frog
swan lamb hamster crow lizard""".split()
COLOURS = "red blue green yellow white black brown grey purple orange pink golden silver".split()
QUALITIES = "old new small large heavy light clean broken pretty wooden round soft strange fine".split()
MOODS = "brave kind clever lazy noisy gentle proud shy hungry sleepy young friendly".split()
THINGS = """kite lamp drum clock basket hammer coat hat boat book ball bell chair table knife ladder mirror ring
scarf bucket blanket whistle doll wagon bottle candle carpet shovel rope saddle teapot violin puzzle map pencil
pillow cup bowl key box""".split()
# Countable goods for sums: (one, many).
GOODS = [(w, w + "s") for w in """apple pear plum lemon egg nut shell stone coin stamp card marble button flower
bead cookie carrot onion feather sticker pen cake biscuit melon potato""".split() if w != "potato"] + [
    ("potato", "potatoes"), ("peach", "peaches"), ("radish", "radishes"), ("berry", "berries"), ("cherry", "cherries")]
FOODS = """bread cheese soup honey rice fish cake butter jam salad pie pasta corn beans cream porridge stew milk
pancakes mushrooms grapes olives""".split()
INSTRUMENTS = "flute violin drum piano harp trumpet guitar horn cello organ".split()
SPOTS = """harbour mill market bridge forest garden school church tower lake station castle library well barn field
beach bakery hill river park inn cave orchard meadow square museum theatre""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
CONTAINERS = [("box", "boxes"), ("bag", "bags"), ("basket", "baskets"), ("jar", "jars"), ("shelf", "shelves"),
              ("row", "rows"), ("sack", "sacks"), ("tray", "trays")]
WEATHER = "sunny rainy windy cold warm cloudy snowy foggy stormy quiet".split()
FEELINGS = "happy glad proud thankful pleased cheerful".split()
WORRIES = "sad worried upset tired angry afraid".split()


def article(word):
    """The indefinite article that fits `word`."""
    return "an" if word[0] in "aeiou" else "a"
