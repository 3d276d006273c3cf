"""Which estimator can be trusted when: samples whose mutual information is known, and checks of what is read off them.

problems.py has the samples, contenders.py the estimators under test, checks.py one function per check, suite.py says
which check runs on what, store.py keeps the rows and show.py prints them.
"""
