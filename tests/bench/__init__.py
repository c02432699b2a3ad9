"""How fast macmgr is beside what people use today: ratios of one run, never a timed unit test. `tox -e bench`, root."""
