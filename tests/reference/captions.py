"""Writes 1,000 varied English captions, the same ones every time.

Most are made from parts of sentences, the way people caption photographs; the rest (`AWKWARD`) are
written one by one to hold what tokenizers disagree on: clitics, abbreviations, quotes, brackets,
numbers, money, clock times, hyphens, dashes, web addresses, several sentences in one line.
"""

from __future__ import annotations

import random
from pathlib import Path

SUBJECTS = """a man|two women|a young boy|the girl's dog|a group of people|three kids|an old couple|
the players|a baseball player|a snowboarder|a surfer in a wetsuit|a black-and-white cat|
a brown horse|some zebras|a herd of sheep|a flock of birds|an elephant|a giraffe|a pizza|
a plate of food|a bowl of soup|half-eaten sandwiches|a double-decker bus|a red fire truck|
the 7:45 train|an Amtrak train|a Boeing 747|a WWII-era plane|a stop sign|a street sign|
a traffic light|several motorcycles|a mountain bike|a laptop computer|an Apple iPhone|a TV|
a flat-screen television|a teddy bear|a vase of flowers|a wooden bench|an umbrella|a bathroom|
the kitchen's stove|a bride and groom|a waiter|a policeman|a toddler|somebody's luggage|
a U.S. flag|a Coca-Cola can|Mr. Smith|Dr. Jones|a police officer|students|a lady in a red dress|
a man with a beard|the chef|a tennis player|two teams|a skateboarder|workers in hard hats|
a mother and her child|an Asian man|a bearded man in a hat|one person|nobody|a kitten|puppies|
a bunch of bananas|a pile of oranges|an assortment of fruits and vegetables|a cup of coffee|
a chocolate cake|birthday candles|a clock tower|Big Ben|a city bus|a yellow taxi cab|a sail boat|
a cruise ship|a kite|colorful kites|a remote control|a computer mouse|a toilet|a sink|
a desk with a monitor|a bedroom|a living room|a refrigerator|a microwave oven""".replace("\n", "")
ACTIONS = """is standing|are sitting|isn't looking at the camera|is riding|can't reach the ball|
stands|sit|is parked|are grazing|is lying down|is about to hit the ball|is getting ready to serve|
doesn't move|is cutting a cake|holds a sign that says "STOP"|is holding an umbrella|are walking|
is flying|is jumping over a hurdle|is doing a trick|is covered in snow|is filled with people|
looks like it's ready to go|is reading a book|is talking on a cell phone|is being served|
is stopped|are waiting for the bus|is eating grass|has a half-open door|was taken in 1987|
is wearing a t-shirt and jeans|wears number 23|is decorated with lights|sleeps|is sleeping|
shows 10:25|is next to another one|is resting|are playing frisbee|are posing for a picture|
smile at the camera|is pulling a cart|drives by|has its mouth open|is looking out|leans|
plays Wii with friends|swings a bat|slides into second base|are on display|is shown|can be seen|
won't stop|is lit up|didn't see the sign|goes down the tracks|appears to be broken|is mid-air|
that's been painted is seen|who's smiling waves|they're watching is great|is on sale for $2.50|
is 3.5 feet tall|is half full|is full of toys|is hanging|is tied up|are stacked up|is floating|
is carrying a surfboard|is making a left-hand turn|takes a selfie|is cooking|is brushing its teeth
""".replace("\n", "")
PLACES = """on a bench|in the snow|at the beach|near the water|in front of a building|on a plate|
on top of a table|at night|in a grassy field|on the side of the road|next to a tree|
at St. Mark's square|on Main St.|at the corner of 5th Ave. and 42nd St.|down a city street|
under a blue sky|on a wooden table|beside a river|in the middle of the street|in a zoo|
in a kitchen with stainless-steel appliances|through the woods|in Washington, D.C.|
in Los Angeles, California|at the airport|in the background|on a couch|behind a fence|
by a window|with a lot of traffic|during the day|over the ocean|in a parking lot|
on a tennis court|in a baseball game|on a skateboard ramp|at a restaurant|with trees behind it|
in a black/white photo|inside of a room|outside|in a suit and tie|with his friend's bike|
around 6 p.m. in the evening|at 8 a.m.|in the 1950s|during the '60s|across the street|up a hill|
near some rocks|on the grass|at a table|with other people|along a dirt road|in a small room|
at the women's final|from above|on a leash|on a sunny day|for sale|with cheese and tomatoes|
with mustard, onions, and relish|with bacon, lettuce & tomato|in an enclosure|at Wal-Mart|
near McDonald's|in a tuxedo (with a bow tie)|under an awning|on the runway|in the harbor|
against a wall|among tall grass|in black and white|between two buildings""".replace("\n", "")
ENDINGS = """|||||||||||.|.|.|.|.|.|.|.|.|.|.|.| .|!|...|; the sky is cloudy.|, while others watch|
, and a dog.|, it's fun!|. It is sunny.|. There are trees in the background|. the end|
 - a beautiful view| -- what a day|!!!|?|: an old photo.| (close-up).|, etc.|
 and you can't miss it.|, isn't it?|. A second one is nearby.|, with 2 others|..|,|
 ,and another one| as it's getting dark.|. He's happy.|. They've just eaten.|
 while someone's watching.|, which doesn't work.| & more.| w/ fries| #nofilter|""".replace("\n", "")

AWKWARD = Path(__file__).with_name("awkward_captions.txt")
SEED = 20240607
TOTAL = 1000


def captions() -> list[str]:
    """`TOTAL` different captions in a fixed order."""
    rng = random.Random(SEED)
    parts = [text.split("|") for text in (SUBJECTS, ACTIONS, PLACES, ENDINGS)]
    found = dict.fromkeys(AWKWARD.read_text("utf-8").splitlines())
    while len(found) < TOTAL:
        subject, action, place, ending = (rng.choice(part) for part in parts)
        caption = f"{subject} {action} {place}{ending}"
        if rng.random() < 0.6:
            caption = caption[:1].upper() + caption[1:]
        found[caption] = None
    return list(found)
