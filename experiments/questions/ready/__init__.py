"""The ready-made questions of `nextone what-if`, a file each: what is asked, how, and what was found."""
