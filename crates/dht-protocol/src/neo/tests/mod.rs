//! Both machines against each other, and against the bytes of the original programs.
