CREATE DATABASE IF NOT EXISTS test;
CREATE TABLE IF NOT EXISTS test.ratings (ReviewID INT NOT NULL, Rating INT, PRIMARY KEY (ReviewID));
REPLACE INTO test.ratings (ReviewID, Rating) VALUES (1, 5), (2, 4);
