"""What people think of a run: a page to accept or reject pairs by hand, and how well the filters
agree with them. Nothing here changes what is kept."""
